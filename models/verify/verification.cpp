#include "models/verify/verification.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/json_file.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "models/compare/device_memory.h"
#include "models/compare/forward_comparison.h"
#include "models/compare/pair_memory.h"
#include "models/compare/paired_weights.h"
#include "models/compare/reference_check.h"
#include "models/compare/tensor_comparison.h"
#include "models/cuda/library.h"
#include "models/forward/forward.h"
#include "models/forward/prompt.h"
#include "models/hf/view.h"
#include "models/megatron/view.h"
#include "models/train/gradient_file.h"
#include "models/verify/counted_weights.h"
#include "models/verify/device.h"
#include "models/verify/known_difference.h"
#include "models/verify/option_checks.h"
#include "models/verify/partial_model.h"
#include "models/verify/shared_comparison.h"
#include "models/verify/train_verification.h"
#include "models/verify/verify_report.h"
#include "models/weights/device_copies.h"
#include "models/weights/reused_memory.h"

namespace models {
namespace {

constexpr unsigned kDefaultThreads = 16;
constexpr int64_t kDefaultPromptLength = 32;
constexpr uint64_t kDefaultSeed = 1;

std::unique_ptr<Weights> open_weights(const std::string& path, const VerificationOptions& options,
                                      bridge::FileSystem& fs, bridge::MemoryBudget& budget) {
  if (!fs.stat(path)) {
    bridge::bad_input(fmt::format("{}: no such file or folder", bridge::printable(path)));
  }
  if (bridge::looks_like_megatron(fs, path)) {
    return open_megatron_weights(fs, path, options.iteration, budget, options.run_config);
  }
  if (bridge::looks_like_hf_folder(fs, path)) {
    return open_hf_weights(fs, path, budget, options.drop_mtp);
  }
  bridge::usage_error(fmt::format("{}: neither a Hugging Face folder nor a Megatron checkpoint",
                                  bridge::printable(path)));
}

// Parses "A:B", A < B <= the number of layers.
std::optional<LayerRange> layers_of(const std::string& text, int64_t count) {
  if (text.empty()) return std::nullopt;
  LayerRange range;
  const char* const end = text.data() + text.size();
  const auto [middle, error] = std::from_chars(text.data(), end, range.begin);
  if (error == std::errc() && middle != end && *middle == ':') {
    const auto [stop, wrong] = std::from_chars(middle + 1, end, range.end);
    const bool fits = 0 <= range.begin && range.begin < range.end && range.end <= count;
    if (wrong == std::errc() && stop == end && fits) return range;
  }
  bridge::usage_error(
      fmt::format("--layers {}: not A:B with 0 <= A < B <= {}", bridge::printable(text), count),
      "0:4 are the layers 0 to 3");
}

// The types to which a conversion with this --dtype may round tensors; "": the dtype is unknown.
RoundedTypes rounded_types(const std::string& dtype) {
  if (dtype == "source") return {};
  if (dtype == "bf16") return {at::kBFloat16};
  // Quantized tensors are read as BF16.
  if (dtype == "fp16") return {at::kHalf, at::kBFloat16};
  if (dtype == "fp32") return {at::kFloat, at::kBFloat16};
  return kAnyRoundedType;
}

// Refuses options without effect: a user would not notice the mistake.
void check_megatron_options(bridge::FileSystem& fs, const VerificationOptions& options) {
  for (const auto& [name, value] :
       {std::pair("--run-config", &options.run_config), {"--iteration", &options.iteration}}) {
    if (value->empty() || bridge::looks_like_megatron(fs, options.a)) continue;
    if (!options.b.empty() && bridge::looks_like_megatron(fs, options.b)) continue;
    bridge::usage_error(fmt::format("{}: there is no Megatron checkpoint to read with it", name));
  }
}

// A size that a user gave.
std::optional<int64_t> capped(const std::optional<uint64_t>& size) {
  if (!size) return std::nullopt;
  return static_cast<int64_t>(std::min<uint64_t>(*size, INT64_MAX));
}

class Verification {
 public:
  Verification(const VerificationOptions& options, bridge::FileSystem& fs,
               const ChosenDevice& device)
      : options_(options),
        fs_(fs),
        budget_(*capped(options.memory.value_or(kDefaultMemory))),
        device_(device) {
    compute_.device = device.device;
    if (device.device.is_cuda() && !options.only_checks) load_kernels();
    if (options.compute == "bf16") compute_.dtype = at::kBFloat16;
    if (!options.reference.empty()) {
      reference_ = std::make_unique<ReferenceLogits>(fs, options.reference, budget_);
    }
    if (!options.tokens.empty() && !trains()) ids_ = given_prompt(fs, options.tokens);
  }

  bool run() {
    auto a = open_weights(options_.a, options_, fs_, budget_);
    auto b = options_.b.empty() ? nullptr : open_weights(options_.b, options_, fs_, budget_);
    check_megatron_options(fs_, options_);
    if (trains() && options_.drop_mtp) {
      a = PartialModel::without_mtp(std::move(a));
      if (b) b = PartialModel::without_mtp(std::move(b));
    }
    layers_ = layers_of(options_.layers, static_cast<int64_t>(a->config().layers.size()));
    if (trains()) {
      batch_ = training_batch(fs_, options_, a->config().vocab, budget_);
      ids_ = batch_.ids;
    }
    if (reference_) ids_ = reference_->ids();
    if (!ids_.defined()) {
      ids_ = seeded_prompt(a->config().vocab, options_.prompt_length.value_or(kDefaultPromptLength),
                           seed());
    }
    bridge::with_context(reference_ ? "input_ids" : "--tokens",
                         [&] { check_prompt(ids_, a->config().vocab); });
    report_.emplace(options_.quiet || !options_.rank.leads(), layers_);
    report_->checkpoints(options_.a, options_.b);
    report_->prompt(ids_, prompt_source(), options_.compute, device_);
    if (!compute_.device.is_cpu()) prepare_device(a->config(), b ? &b->config() : nullptr);
    if (b && options_.text_only) leave_out_tower(a, b);
    bool equal = true;
    if (b) equal = compare(*a, *b);
    if (trains() && !b) equal = train(*a, nullptr, /*bit_for_bit=*/true);
    if (reference_) {
      equal = meets_reference(options_.a, *a, a_is_rounded_) && equal;
      if (b) equal = meets_reference(options_.b, *b, b_is_rounded_) && equal;
    }
    return equal;
  }

  void write_report(bool equal, double seconds) {
    if (options_.report.empty() || !options_.rank.leads()) return;
    nlohmann::ordered_json& json = report_->json();
    json["equal"] = equal;
    json["seconds"] = seconds;
    json["peak_rss_bytes"] = bridge::peak_rss_bytes();
    json["peak_device_bytes"] = peak_device_bytes(compute_.device);
    json["device_bytes_needed"] = device_bytes_needed_;
    bridge::replace_json_file(fs_, options_.report, json);
  }

 private:
  // LibTorch does without them, and then quantized weights and logits cross the bus as values.
  void load_kernels() {
    std::string reason;
    kernels_ = cuda::KernelLibrary::load(cuda::KernelLibrary::beside_program(), reason);
    if (kernels_) {
      compute_.kernels = &*kernels_;
    } else {
      bridge::print_message(fmt::format(
          "no CUDA kernels: {}; weights are dequantized and heads compared on the CPU\n", reason));
    }
  }

  // Holds what is needed there against --device-memory and what is free, and lets the rest be used
  // by copies. b: null for one checkpoint.
  void prepare_device(const ModelConfig& a, const ModelConfig* b) {
    DeviceNeed need = device_need(a, ids_.size(0), ids_.size(1), layers_);
    if (b != nullptr) {
      const DeviceNeed theirs = device_need(*b, ids_.size(0), ids_.size(1), layers_);
      if (theirs.all() > need.all()) need = theirs;
    }
    device_bytes_needed_ = need.all();
    copies_.emplace(compute_.device, copies_ahead(need, free_device_bytes(compute_.device),
                                                  capped(options_.device_memory)));
    compute_.copies = &*copies_;
  }

  bool trains() const { return options_.mode == "train-step"; }
  uint64_t seed() const { return options_.seed.value_or(kDefaultSeed); }

  std::string prompt_source() const {
    if (reference_) return "the reference's";
    return options_.tokens.empty() ? fmt::format("seed {}", seed()) : "given";
  }

  template <typename Work>
  auto with_progress(const char* label, Weights& a, Weights& b, const Work& work) {
    const bool shown = !options_.quiet && options_.progress != bridge::ProgressMode::kNever;
    const int64_t bytes = shown ? bytes_of(a, layers_) + bytes_of(b, layers_) : 0;
    bridge::Progress progress(options_.progress, options_.quiet, label, bytes);
    CountedWeights counted_a(a, progress);
    CountedWeights counted_b(b, progress);
    auto result = work(counted_a, counted_b);
    progress.finish();
    return result;
  }

  // A vision tower that only one side has is left out of the comparison.
  void leave_out_tower(std::unique_ptr<Weights>& a, std::unique_ptr<Weights>& b) {
    const bool first = a->config().vision.has_value();
    if (first == b->config().vision.has_value()) return;
    std::unique_ptr<Weights>& whole = first ? a : b;
    whole = PartialModel::without_vision(std::move(whole));
    report_->text_only(first ? options_.a : options_.b);
  }

  bool compare(Weights& a, Weights& b) {
    std::vector<FieldDifference> differences =
        compare_configurations(a.config(), b.config(), layers_);
    const std::vector<FieldDifference> known = known_differences(a, b, differences);
    const bool configuration = report_->configuration(differences, known);
    const bool computed_alike = std::all_of(known.begin(), known.end(), is_least_step);
    const bool plain = configuration && computed_alike;
    compute_.limited_steps = known.empty() || !computed_alike;
    const bool equal = trains()                  ? compare_steps(a, b, plain)
                       : options_.rank.count > 1 ? compare_share(a, b, plain)
                                                 : compare_passes(a, b, plain);
    compute_.limited_steps = true;  // of each side by itself
    return configuration && equal;
  }

  // Of training steps, which read every tensor again. plain: the configurations are the same.
  bool compare_steps(Weights& a, Weights& b, bool plain) {
    const TensorVerdict tensors = with_progress("tensors", a, b, [&](auto& x, auto& y) {
      return compare_tensors(x, y, layers_, rounded_types(options_.dtype));
    });
    const bool same = report_->tensors(tensors);
    RoundedWeights rounded_a(a, tensors.rounded_a);
    RoundedWeights rounded_b(b, tensors.rounded_b);
    return train(rounded_a, &rounded_b, plain && same) && same;
  }

  // Takes what the weights need from --memory. Gives from how many elements on blocks are read
  // ahead, where there are threads, and the memory for it, which is as much again.
  std::optional<int64_t> reserve_pair(Weights& a, Weights& b, bridge::Reservation& ahead) {
    const bool has_threads = at::get_num_threads() > 1;
    const std::optional<int64_t> from =
        has_threads ? std::optional(kWorthReadingAhead) : std::nullopt;
    if (!options_.memory) return from;
    const int64_t bytes = pair_bytes(a, b, layers_);
    budget_.reserve(bytes, "the weights of the largest tensor of both sides");
    if (!has_threads || budget_.left() < bytes) return std::nullopt;
    ahead.grow(bytes);
    return from;
  }

  // Tensors and forward passes, in one reading.
  bool compare_passes(Weights& a, Weights& b, bool plain) {
    bridge::Reservation ahead(options_.memory ? &budget_ : nullptr, "weights that are read ahead");
    const std::optional<int64_t> from = reserve_pair(a, b, ahead);
    ForwardVerdict forward;
    std::exception_ptr refused;
    const TensorVerdict tensors = with_progress("forward", a, b, [&](auto& x, auto& y) {
      PairedWeights pair(x, y, layers_, rounded_types(options_.dtype), from, compute_);
      const auto start = std::chrono::steady_clock::now();
      // What stops the passes may be a tensor that differs, so the tensors are compared and
      // reported all the same.
      try {
        forward = compare_forward(pair, compute_, ids_, layers_, {.seed = layer_seed()});
      } catch (const bridge::Error&) {
        refused = std::current_exception();
      }
      const std::chrono::duration<double> all = std::chrono::steady_clock::now() - start;
      forward.seconds = all.count() - pair.seconds();
      return pair.finish();
    });
    const bool same = report_->tensors(tensors);
    if (refused) std::rethrow_exception(refused);
    a_is_rounded_ = !tensors.rounded_b.empty();
    b_is_rounded_ = !tensors.rounded_a.empty();
    return report_->forward(forward, plain && same, tensors, a.config().vocab) && same;
  }

  // Of several processes. plain: the configurations are the same.
  bool compare_share(Weights& a, Weights& b, bool plain) {
    SharedComparison comparison(fs_, options_, compute_, ids_, layers_, layer_seed());
    ReportPart found = comparison.run(a, b, rounded_types(options_.dtype), budget_);
    if (!options_.rank.leads()) return true;
    report_->json()["processes"] = std::move(found.process);
    const bool same = report_->tensors(found.tensors);
    const int64_t vocab = a.config().vocab;
    return report_->forward(std::move(found.forward), plain && same, found.tensors, vocab) && same;
  }

  std::optional<uint64_t> layer_seed() const {
    return options_.seeded_layers ? std::optional(seed()) : std::nullopt;
  }

  // Returns none if both sides are of one kind.
  std::vector<FieldDifference> known_differences(const Weights& a, const Weights& b,
                                                 std::vector<FieldDifference>& found) {
    const bool a_is_megatron = bridge::looks_like_megatron(fs_, options_.a);
    if (a_is_megatron == bridge::looks_like_megatron(fs_, options_.b)) return {};
    return a_is_megatron ? take_known_differences(b.config(), a.config(), found)
                         : take_known_differences(a.config(), b.config(), found);
  }

  bool train(Weights& a, Weights* b, bool bit_for_bit) {
    return report_->train_step(
        verify_train_step(fs_, options_, batch_, a, b, bit_for_bit, budget_));
  }

  bool meets_reference(const std::string& side, Weights& weights, bool rounded) {
    Compute compute = compute_;
    compute.rounded = rounded;
    return report_->reference(side, check_against(weights, compute, *reference_), rounded,
                              *reference_);
  }

  const VerificationOptions& options_;
  bridge::FileSystem& fs_;
  bridge::MemoryBudget budget_;  // for headers and metadata of both sides
  const ChosenDevice& device_;
  Compute compute_;
  std::optional<cuda::KernelLibrary> kernels_;
  std::optional<DeviceCopies> copies_;
  int64_t device_bytes_needed_ = 0;
  std::unique_ptr<ReferenceLogits> reference_;
  at::Tensor ids_;
  Batch batch_;  // of a training step
  std::optional<LayerRange> layers_;
  std::optional<VerifyReport> report_;
  bool a_is_rounded_ = false;
  bool b_is_rounded_ = false;
};

// A training step runs on the CPU, which "auto" then chooses.
ChosenDevice device_for(const VerificationOptions& options) {
  if (options.mode != "train-step") {
    return choose_device(options.device, options.cuda_libraries, capped(options.device_memory));
  }
  if (options.device != "auto" && options.device != "cpu") {
    bridge::unsupported("--mode train-step runs on the CPU", "--device cpu");
  }
  return choose_device("cpu", options.cuda_libraries);
}

void check_dump(bridge::FileSystem& fs, const VerificationOptions& options) {
  check_gradient_file(fs, options.dump);
  if (!options.b.empty()) check_gradient_file(fs, options.dump + ".first");
}

}  // namespace

bool verify(bridge::FileSystem& fs, const VerificationOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_together(options);
  if (!options.report.empty() && options.rank.leads())
    bridge::check_json_file_can_be_written(fs, options.report);
  if (!options.dump.empty()) check_dump(fs, options);
  use_large_pages();
  if (options.mode == "logits") reuse_tensor_memory();
  const ChosenDevice device = device_for(options);
  const unsigned cores = std::thread::hardware_concurrency();
  make_deterministic(options.threads > 0
                         ? options.threads
                         : static_cast<int>(std::clamp(cores, 1U, kDefaultThreads)));
  Verification verification(options, fs, device);
  if (options.only_checks) return true;
  const bool equal = verification.run();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  verification.write_report(equal, seconds.count());
  return equal || !options.rank.leads();
}

}  // namespace models
