// causeway-verify: the forward pass, as a program of its own so that `causeway` starts without LibTorch.
//
//   causeway-verify A B                       two checkpoints of one model: configuration, tensors, forward pass
//   causeway-verify A --reference-logits F    one checkpoint's forward pass against recorded logits
// Forward passes of equal models are equal bit for bit; where configuration or tensors differ already, what they differ
// by is judged like a difference from recorded logits. Where a side is rounded to a narrower type (models/rounding.h),
// both run on the rounded values.
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "bridge/io/error.h"
#include "bridge/io/hf_folder.h"
#include "bridge/io/json_file.h"
#include "bridge/io/progress.h"
#include "bridge/io/torch_dist.h"
#include "models/counted_weights.h"
#include "models/device.h"
#include "models/forward.h"
#include "models/hf_weights.h"
#include "models/megatron_weights.h"
#include "models/prompt.h"
#include "models/reference_check.h"
#include "models/text_model.h"
#include "models/verify_report.h"
#include "models/view_comparison.h"

namespace {

constexpr int kMostThreads = 1024;
constexpr unsigned kDefaultThreads = 16;
constexpr int64_t kLongestPrompt = 1 << 20;
constexpr const char* kReport = "this is a bug of causeway: please report it with the command line";

struct Options {
  std::string a;
  std::string b;
  std::string reference;
  std::string iteration;
  std::string run_config;
  std::string tokens;
  std::string layers;
  std::string compute = "fp32";
  std::string device = "cpu";
  std::string dtype;
  std::string report;
  bridge::ProgressMode progress = bridge::ProgressMode::kAuto;
  bool drop_mtp = false;
  bool text_only = false;
  bool quiet = false;
  int threads = 0;
  uint64_t memory = 256 << 20;
  int64_t prompt_length = 32;
  uint64_t seed = 1;
};

std::unique_ptr<models::Weights> open_weights(const std::string& path, const Options& options,
                                              bridge::FileSystem& fs,
                                              bridge::MemoryBudget& budget) {
  if (!fs.stat(path)) {
    bridge::bad_input(fmt::format("{}: no such file or folder", bridge::printable(path)));
  }
  if (bridge::looks_like_megatron(fs, path)) {
    return models::open_megatron_weights(fs, path, options.iteration, budget, options.run_config);
  }
  if (bridge::looks_like_hf_folder(fs, path)) {
    return models::open_hf_weights(fs, path, budget, options.drop_mtp);
  }
  bridge::usage_error(fmt::format("{}: neither a Hugging Face folder nor a Megatron checkpoint",
                                  bridge::printable(path)));
}

// "A:B", A < B <= the number of layers.
std::optional<models::LayerRange> layers_of(const std::string& text, int64_t count) {
  if (text.empty()) return std::nullopt;
  models::LayerRange range;
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

// What --dtype of the conversion lets tensors be rounded to; "": it is not known.
models::RoundedTypes rounded_types(const std::string& dtype) {
  if (dtype == "source") return {};
  if (dtype == "bf16") return {at::kBFloat16};
  // What is quantized is read as BF16.
  if (dtype == "fp16") return {at::kHalf, at::kBFloat16};
  if (dtype == "fp32") return {at::kFloat, at::kBFloat16};
  return models::kAnyRoundedType;
}

class Verification {
 public:
  Verification(const Options& options, bridge::FileSystem& fs, const models::ChosenDevice& device)
      : options_(options), fs_(fs), budget_(static_cast<int64_t>(options.memory)) {
    compute_.device = device.device;
    if (options.compute == "bf16") compute_.dtype = at::kBFloat16;
    if (!options.reference.empty()) {
      reference_ = std::make_unique<models::ReferenceLogits>(fs, options.reference, budget_);
    }
    if (!options.tokens.empty()) ids_ = models::given_prompt(fs, options.tokens);
  }

  bool run() {
    auto a = open_weights(options_.a, options_, fs_, budget_);
    auto b = options_.b.empty() ? nullptr : open_weights(options_.b, options_, fs_, budget_);
    layers_ = layers_of(options_.layers, static_cast<int64_t>(a->config().layers.size()));
    if (reference_) ids_ = reference_->ids();
    if (!ids_.defined()) {
      ids_ = models::seeded_prompt(a->config().vocab, options_.prompt_length, options_.seed);
    }
    models::check_prompt(ids_, a->config().vocab);
    report_.emplace(options_.quiet, layers_);
    if (b && options_.text_only) leave_out_tower(a, b);
    bool equal = true;
    if (b) equal = compare(*a, *b);
    if (reference_) {
      if (b) equal = meets_reference(options_.b, *b, b_is_rounded_) && equal;
      equal = meets_reference(options_.a, *a, a_is_rounded_) && equal;
    }
    return equal;
  }

  void write_report(bool equal, double seconds) {
    if (options_.report.empty()) return;
    nlohmann::ordered_json json = {{"a", bridge::printable(options_.a)},
                                   {"b", bridge::printable(options_.b)},
                                   {"equal", equal},
                                   {"prompts", ids_.size(0)},
                                   {"tokens", ids_.size(1)},
                                   {"compute", options_.compute},
                                   {"device", compute_.device.str()}};
    json.update(report_->json());
    json["seconds"] = seconds;
    json["peak_rss_bytes"] = bridge::peak_rss_bytes();
    bridge::replace_json_file(fs_, options_.report, json);
  }

 private:
  template <typename Work>
  auto with_progress(const char* label, models::Weights& a, models::Weights& b, const Work& work) {
    const bool shown = !options_.quiet && options_.progress != bridge::ProgressMode::kNever;
    const int64_t bytes = shown ? models::bytes_of(a, layers_) + models::bytes_of(b, layers_) : 0;
    bridge::Progress progress(options_.progress, options_.quiet, label, bytes);
    models::CountedWeights counted_a(a, progress);
    models::CountedWeights counted_b(b, progress);
    auto result = work(counted_a, counted_b);
    progress.finish();
    return result;
  }

  // The side that alone has a vision tower is compared without it.
  void leave_out_tower(std::unique_ptr<models::Weights>& a, std::unique_ptr<models::Weights>& b) {
    const bool first = a->config().vision.has_value();
    if (first == b->config().vision.has_value()) return;
    std::unique_ptr<models::Weights>& whole = first ? a : b;
    whole = std::make_unique<models::TextModel>(std::move(whole));
    report_->text_only(first ? options_.a : options_.b);
  }

  bool compare(models::Weights& a, models::Weights& b) {
    const bool configuration =
        report_->configuration(models::compare_configurations(a.config(), b.config(), layers_));
    const models::TensorVerdict tensors = with_progress("tensors", a, b, [&](auto& x, auto& y) {
      return models::compare_tensors(x, y, layers_, rounded_types(options_.dtype));
    });
    const bool same = report_->tensors(tensors);
    a_is_rounded_ = !tensors.rounded_b.empty();
    b_is_rounded_ = !tensors.rounded_a.empty();
    models::RoundedWeights rounded_a(a, tensors.rounded_a);
    models::RoundedWeights rounded_b(b, tensors.rounded_b);
    const models::ForwardVerdict forward = with_progress(
        "forward", rounded_a, rounded_b,
        [&](auto& x, auto& y) { return models::compare_forward(x, y, compute_, ids_, layers_); });
    const bool passes = report_->forward(forward, configuration && same, tensors, a.config().vocab);
    return configuration && same && passes;
  }

  bool meets_reference(const std::string& side, models::Weights& weights, bool rounded) {
    models::Compute compute = compute_;
    compute.rounded = rounded;
    return report_->reference(side, models::check_against(weights, compute, *reference_), rounded,
                              *reference_);
  }

  const Options& options_;
  bridge::FileSystem& fs_;
  bridge::MemoryBudget budget_;  // of headers and metadata of both
  models::Compute compute_;
  std::unique_ptr<models::ReferenceLogits> reference_;
  at::Tensor ids_;
  std::optional<models::LayerRange> layers_;
  std::optional<models::VerifyReport> report_;
  bool a_is_rounded_ = false;
  bool b_is_rounded_ = false;
};

void check_together(const Options& options) {
  if (options.b.empty() && options.reference.empty()) {
    bridge::usage_error("one checkpoint, and nothing to compare it with",
                        "name a second one, or --reference-logits FILE");
  }
  if (options.reference.empty()) return;
  if (!options.layers.empty()) {
    bridge::usage_error("--layers with --reference-logits: some layers have no logits");
  }
  if (!options.tokens.empty()) {
    bridge::usage_error("--tokens with --reference-logits: that file has the prompt");
  }
}

int verify(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  check_together(options);
  const models::ChosenDevice device = models::choose_device(options.device);
  if (!device.why.empty()) fmt::print(stderr, "device: {}\n", device.why);
  const unsigned cores = std::thread::hardware_concurrency();
  models::make_deterministic(options.threads > 0
                                 ? options.threads
                                 : static_cast<int>(std::clamp(cores, 1U, kDefaultThreads)));
  Verification verification(options, bridge::real_file_system(), device);
  const bool equal = verification.run();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  verification.write_report(equal, seconds.count());
  return equal ? 0 : static_cast<int>(bridge::Code::kMismatch);
}

void add_pass_options(CLI::App& app, Options& options) {
  app.add_option("--tokens", options.tokens,
                 "The prompt: numbers with commas between, or a file of them, a prompt a line")
      ->type_name("FILE|IDS");
  app.add_option("--prompt-length", options.prompt_length,
                 "Tokens of a prompt made from --seed (default 32)")
      ->check(CLI::Range(int64_t{1}, kLongestPrompt))
      ->type_name("N");
  app.add_option("--seed", options.seed, "Which prompt (default 1)")->type_name("S");
  app.add_option("--layers", options.layers,
                 "Only the decoder layers A to B - 1; the verdict says PARTIAL")
      ->type_name("A:B");
  app.add_option("--compute", options.compute,
                 "Numbers of the forward pass: fp32, bf16 (default fp32)")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->type_name("DTYPE");
  app.add_option("--device", options.device,
                 "auto (says what it chose), cpu, cuda, cuda:N (default cpu)")
      ->type_name("DEVICE");
  app.add_option("--dtype", options.dtype,
                 "What the conversion rounded weights to: source (nothing), bf16, fp16, fp32; "
                 "another rounding is then a difference (default: not known)")
      ->check(CLI::IsMember({"source", "bf16", "fp16", "fp32"}))
      ->type_name("DTYPE");
  app.add_option_function<std::string>(
         "--mtp", [&options](const std::string& what) { options.drop_mtp = what == "drop"; },
         "keep, or drop: leave the Hugging Face side's multi-token prediction out (default keep)")
      ->check(CLI::IsMember({"keep", "drop"}))
      ->type_name("WHAT");
  app.add_option_function<std::string>(
         "--parts", [&options](const std::string& what) { options.text_only = what == "text"; },
         "all, or text: the other side was made without the vision tower of one (default all)")
      ->check(CLI::IsMember({"all", "text"}))
      ->type_name("WHAT");
}

void add_run_options(CLI::App& app, Options& options) {
  app.add_option("--iteration", options.iteration, "Of a Megatron checkpoint: N, release or latest")
      ->type_name("N");
  app.add_option("--run-config", options.run_config,
                 "run_config.yaml for a Megatron checkpoint that has none")
      ->type_name("FILE");
  app.add_option("--threads", options.threads, "Threads (default: one a core, at most 16)")
      ->check(CLI::Range(1, kMostThreads))
      ->type_name("N");
  app.add_option("--memory", options.memory,
                 "Cap on headers and metadata of both sides (default 256MiB); weights are read "
                 "tensor by tensor on top of it")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->type_name("SIZE");
  app.add_option("--report", options.report, "Write a machine-readable result to this file")
      ->type_name("FILE");
  app.add_option_function<std::string>(
         "--progress",
         [&options](const std::string& mode) {
           options.progress = mode == "always"  ? bridge::ProgressMode::kAlways
                              : mode == "never" ? bridge::ProgressMode::kNever
                                                : bridge::ProgressMode::kAuto;
         },
         "Progress on stderr: auto, always, never (default auto)")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("MODE");
  app.add_flag("--quiet,-q", options.quiet, "Only errors and warnings");
}

int run(int argc, char** argv) {
  CLI::App app(
      "Runs checkpoints' forward pass: two of one model against each other, or against recorded "
      "logits.",
      "causeway-verify");
  app.set_version_flag("--version", "causeway-verify " CAUSEWAY_VERSION);
  Options options;
  app.add_option("DIR", options.a, "Hugging Face folder or Megatron checkpoint")->required();
  app.add_option("OTHER", options.b, "What should be the same model");
  app.add_option("--reference-logits", options.reference, "safetensors with input_ids and logits")
      ->type_name("FILE");
  add_pass_options(app, options);
  add_run_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked_for = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    if (asked_for) return app.exit(error);
    bridge::usage_error(bridge::printable(error.what()), "see causeway-verify --help");
  }
  return verify(options);
}

bridge::Error out_of_memory() {
  return {bridge::Code::kIo, "out of memory", "a shorter prompt needs less"};
}

int print_error(const bridge::Error& error) {
  fmt::print(stderr, "causeway-verify: {}\n", error.message());
  if (!error.hint().empty()) fmt::print(stderr, "  {}\n", error.hint());
  return error.exit_status();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const bridge::Error& error) {
    return print_error(error);
  } catch (const std::bad_alloc&) {
    return print_error(out_of_memory());
  } catch (const c10::Error& error) {
    // The CPU's allocator has no error type of its own.
    const std::string text = error.what_without_backtrace();
    if (text.find("can't allocate memory") != std::string::npos)
      return print_error(out_of_memory());
    return print_error({bridge::Code::kInternal, bridge::printable(text), kReport});
  } catch (const std::exception& error) {
    return print_error({bridge::Code::kInternal, error.what(), kReport});
  }
}
