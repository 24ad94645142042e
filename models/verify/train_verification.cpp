#include "models/verify/train_verification.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"
#include "models/forward/prompt.h"
#include "models/train/gradient_file.h"
#include "models/train/step_memory.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

// For two ways of computing equal values in fp32 in another order.
constexpr double kLossTolerance = 1e-5;      // relative
constexpr double kGradientTolerance = 1e-4;  // of the gradient's norm
constexpr double kGradientFloor = 1e-7;
constexpr double kDefaultMtpLossScale = 0.1;

double norm_of(const at::Tensor& x) {
  return x.to(at::kDouble).norm().item<double>();
}

std::vector<int64_t> lengths_of(const Batch& batch) {
  if (batch.offsets.empty()) return {batch.ids.size(1)};
  std::vector<int64_t> lengths;
  for (size_t i = 1; i < batch.offsets.size(); ++i) {
    lengths.push_back(batch.offsets[i] - batch.offsets[i - 1]);
  }
  return lengths;
}

bool has_several_sequences(const Batch& batch) {
  const std::vector<int64_t> lengths = lengths_of(batch);
  return std::count_if(lengths.begin(), lengths.end(), [](int64_t n) { return n > 0; }) > 1;
}

// One sequence of a packed row as a row of its own.
Batch alone(const Batch& packed, int64_t first, int64_t count) {
  Batch batch;
  batch.ids = packed.ids.narrow(1, first, count);
  batch.targets = {packed.targets.labels.narrow(1, first, count),
                   packed.targets.mask.narrow(1, first, count)};
  if (packed.positions.defined()) batch.positions = packed.positions.narrow(-1, first, count);
  return batch;
}

// The losses of all heads, the main one first.
std::vector<LossValue> heads_of(const StepLosses& losses) {
  std::vector<LossValue> heads = {losses.main};
  heads.insert(heads.end(), losses.mtp.begin(), losses.mtp.end());
  return heads;
}

// Compares two steps, number by number.
class Comparison {
 public:
  explicit Comparison(bool bit_for_bit) { out_.bit_for_bit = bit_for_bit; }

  void losses(const std::vector<LossValue>& a, const std::vector<LossValue>& b) {
    if (a.size() != b.size()) return differs("losses");
    for (size_t head = 0; head < a.size(); ++head) {
      const double distance =
          std::abs(a[head].sum - b[head].sum) / std::max(std::abs(a[head].sum), 1e-30);
      const bool same = a[head].sum == b[head].sum && a[head].count == b[head].count;
      // Fractions of a mask are added in another order too.
      const bool counted = std::abs(a[head].count - b[head].count) <= 1e-6 * a[head].count;
      const bool close = same || (counted && distance <= kLossTolerance);
      if (!same) out_.largest_loss = std::max(out_.largest_loss, distance);
      if (!(out_.bit_for_bit ? same : close)) {
        differs(head == 0 ? "loss.main" : fmt::format("loss.mtp.{}", head - 1));
      }
    }
  }

  // Undefined: there is none.
  void gradient(const std::string& name, const at::Tensor& a, const at::Tensor& b) {
    if (!a.defined() && !b.defined()) return;
    ++out_.gradients;
    if (a.defined() != b.defined() || a.sizes() != b.sizes()) return differs(name);
    if (a.equal(b)) return;
    const double norm = norm_of(a);
    const double distance = norm_of(a - b);
    const double relative = distance / std::max(norm, 1e-30);
    if (!(relative <= out_.largest)) {
      out_.largest = relative;
      out_.largest_of = name;
    }
    const bool close = distance <= kGradientTolerance * norm + kGradientFloor;
    if (out_.bit_for_bit || !close) differs(name);
  }

  const StepComparison& result() const { return out_; }

 private:
  void differs(const std::string& name) {
    out_.equal = false;
    out_.different.push_back(name);
  }

  StepComparison out_;
};

StepComparison packed_against_alone(Weights& weights, const Batch& batch, StepOptions options,
                                    const StepResult& together, LeafWeights& of_row) {
  for (const LossValue& head : heads_of(together.losses)) options.counts.push_back(head.count);
  options.ranks = 1;
  options.recompute = {};
  LeafWeights leaves(weights);
  std::vector<LossValue> sums(options.counts.size());
  for (size_t i = 1; i < batch.offsets.size(); ++i) {
    const int64_t first = batch.offsets[i - 1];
    const int64_t count = batch.offsets[i] - first;
    if (count == 0) continue;
    const std::vector<LossValue> heads =
        heads_of(train_step(leaves, alone(batch, first, count), options).losses);
    for (size_t head = 0; head < sums.size(); ++head) {
      sums[head].sum += heads.at(head).sum;
      sums[head].count += heads.at(head).count;
    }
  }
  Comparison comparison(/*bit_for_bit=*/false);
  comparison.losses(heads_of(together.losses), sums);
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape&) {
    comparison.gradient(to_string(id), of_row.gradient(id), leaves.gradient(id));
  });
  return comparison.result();
}

// The linears of one step.
std::unique_ptr<Fp8Linears> fp8_of(const VerificationOptions& options) {
  const std::optional<Fp8Recipe> recipe = parse_fp8(options.fp8);
  return recipe ? std::make_unique<Fp8Linears>(*recipe) : nullptr;
}

StepComparison compare_steps(const StepResult& a, LeafWeights& first, const StepResult& b,
                             LeafWeights& second, bool bit_for_bit) {
  Comparison comparison(bit_for_bit);
  comparison.losses(heads_of(a.losses), heads_of(b.losses));
  for_each_tensor(second.config(), [&](const TensorId& id, const bridge::Shape&) {
    comparison.gradient(to_string(id), first.gradient(id), second.gradient(id));
  });
  return comparison.result();
}

// A step that computes parts or hyper-connections again against the one that keeps everything: sums
// have the same order in both (run_part), and FP8 would show another one as other codes.
StepComparison recomputed_against_kept(Weights& weights, const Batch& batch, StepOptions options,
                                       Fp8Linears* fp8, const StepResult& recomputed,
                                       LeafWeights& of_recomputed) {
  options.recompute = {};
  options.mhc_block = 0;
  options.fp8 = fp8;
  LeafWeights leaves(weights);
  const StepResult kept = train_step(leaves, batch, options);
  return compare_steps(kept, leaves, recomputed, of_recomputed, /*bit_for_bit=*/true);
}

void summarize(TrainVerdict& verdict, LeafWeights& weights) {
  const std::vector<StoredTensor> stored = weights.stored();
  for (size_t i = 0; i < stored.size(); ++i) {
    const std::string reason = weights.without_gradient(i);
    if (!reason.empty()) {
      verdict.without_gradient.emplace_back(stored[i].key, reason);
      continue;
    }
    at::Tensor gradient = weights.gradient(i);
    verdict.gradients.push_back(
        {stored[i].key, norm_of(gradient), bridge::crc32(bytes_of(gradient))});
  }
}

// The settings of a side, or of the other one where it has none of its own.
class Settled {
 public:
  Settled(const TrainingSettings& own, const TrainingSettings& other)
      : scale_(own.mtp_loss_scale ? own.mtp_loss_scale : other.mtp_loss_scale),
        router_(own.router_loss ? own : other) {}

  double scale() const { return scale_.value_or(kDefaultMtpLossScale); }
  const char* scale_from() const {
    return scale_ ? "mtp_loss_scaling_factor" : "Megatron-Core's default, which config.json leaves";
  }
  const TrainingSettings& router() const { return router_; }

 private:
  std::optional<double> scale_;
  TrainingSettings router_;
};

// Options that say what is computed again replace what the checkpoint says of it.
int64_t mhc_block_of(const VerificationOptions& options, const TrainingSettings& own,
                     const ModelConfig& config) {
  if (options.mhc_block > 0 || !options.recompute.empty()) return options.mhc_block;
  return std::min(own.mhc_block.value_or(0), std::ssize(config.layers));
}

StepOptions step_options(const VerificationOptions& options, const Settled& settings) {
  StepOptions step;
  step.mtp_loss_scale = settings.scale();
  step.ranks = options.ranks;
  if (!options.recompute.empty()) step.recompute = parse_recompute(options.recompute);
  if (!options.router_loss) return step;
  if (!settings.router().router_loss) {
    bridge::unsupported("--aux-loss: config.json does not say which loss routers are trained with",
                        "the run_config.yaml or the arguments of a Megatron checkpoint do");
  }
  step.router_loss = settings.router();
  return step;
}

bool recomputes(const StepOptions& step) {
  return step.recompute.method != Recompute::Method::kNone;
}

// With two checkpoints, the values and gradients of both are there at the end, and so they are if
// the step of one is computed in two ways; the activations are of one step at a time.
int64_t bytes_needed(const Batch& batch, Weights& first, Weights* second, bool in_two_ways) {
  const std::vector<int64_t> lengths = lengths_of(batch);
  const StepMemory one = step_memory(first, lengths);
  if (second == nullptr) return one.all() + (in_two_ways ? one.weights : 0);
  const StepMemory other = step_memory(*second, lengths);
  return one.weights + other.weights + std::max(one.activations, other.activations);
}

std::string note_on(const Recompute& recompute, const ModelConfig& config) {
  const bool skips = recompute.method == Recompute::Method::kBlock && !config.mtp.empty();
  return skips ? "multi-token prediction runs without recomputation, as in Megatron-Core" : "";
}

bridge::Path beside(const std::string& path, const char* suffix) {
  bridge::Path out = path;
  out += suffix;
  return out;
}

}  // namespace

Batch training_batch(bridge::FileSystem& fs, const VerificationOptions& options, int64_t vocab,
                     bridge::MemoryBudget& budget) {
  constexpr int64_t kDefaultLength = 32;
  constexpr uint64_t kDefaultSeed = 1;
  BatchTensors given;
  const std::optional<bridge::Stat> file =
      is_prompt_text(options.tokens) ? std::nullopt : fs.stat(options.tokens);
  if (file && file->kind == bridge::Kind::kRegular && holds_batch(fs, options.tokens)) {
    given = read_batch(fs, options.tokens, budget);
  } else if (!options.tokens.empty()) {
    given.input_ids = given_prompt(fs, options.tokens);
  } else {
    given.input_ids = seeded_prompt(vocab, options.prompt_length.value_or(kDefaultLength),
                                    options.seed.value_or(kDefaultSeed));
  }
  return bridge::with_context("--tokens", [&] {
    Batch batch = batch_of(given);
    check_prompt(batch.ids, vocab);
    return batch;
  });
}

TrainVerdict verify_train_step(bridge::FileSystem& fs, const VerificationOptions& options,
                               const Batch& batch, Weights& first, Weights* second,
                               bool bit_for_bit, bridge::MemoryBudget& budget) {
  const TrainingSettings of_first = first.training();
  const TrainingSettings of_second = second == nullptr ? of_first : second->training();
  const Settled settings(of_second, of_first);
  TrainVerdict verdict;
  verdict.mtp_loss_scale = settings.scale();
  verdict.scale_from = settings.scale_from();
  verdict.router_loss = options.router_loss;
  StepOptions step = step_options(options, settings);
  step.sections = of_second.sections;
  step.mhc_block =
      mhc_block_of(options, of_second, second == nullptr ? first.config() : second->config());
  const std::unique_ptr<Fp8Linears> fp8 = fp8_of(options);
  step.fp8 = fp8.get();
  verdict.recompute = options.recompute.empty() ? "none" : options.recompute;
  verdict.recompute_note = note_on(step.recompute, first.config());
  verdict.fp8 = options.fp8;
  verdict.mhc_block = step.mhc_block;
  verdict.mhc_from =
      options.mhc_block > 0 ? "--mhc-recompute-layers" : "the checkpoint's recompute_modules";
  const bool in_two_ways = has_several_sequences(batch) || recomputes(step) || step.mhc_block > 0;
  verdict.bytes_needed = bytes_needed(batch, first, second, in_two_ways);
  budget.reserve(verdict.bytes_needed, "values, gradients and activations of a training step");

  LeafWeights leaves(second == nullptr ? first : *second);
  if (second == nullptr) {
    verdict.result = train_step(leaves, batch, step);
    if (recomputes(step) || step.mhc_block > 0) {
      const std::unique_ptr<Fp8Linears> fresh = fp8_of(options);
      const StepComparison against_kept =
          recomputed_against_kept(first, batch, step, fresh.get(), verdict.result, leaves);
      if (recomputes(step)) verdict.recomputed = against_kept;
      if (step.mhc_block > 0) verdict.mhc = against_kept;
    }
    // Sequences alone have other scales.
    if (has_several_sequences(batch) && !step.router_loss && !fp8) {
      verdict.packed = packed_against_alone(first, batch, step, verdict.result, leaves);
    }
  } else {
    LeafWeights leaves_of_first(first);
    StepOptions step_of_first = step_options(options, Settled(of_first, of_second));
    step_of_first.sections = of_first.sections;
    step_of_first.mhc_block = mhc_block_of(options, of_first, first.config());
    const std::unique_ptr<Fp8Linears> fp8_of_first = fp8_of(options);
    step_of_first.fp8 = fp8_of_first.get();
    const StepResult result = train_step(leaves_of_first, batch, step_of_first);
    verdict.result = train_step(leaves, batch, step);
    verdict.sides = compare_steps(result, leaves_of_first, verdict.result, leaves, bit_for_bit);
    if (!options.dump.empty()) {
      write_gradients(fs, beside(options.dump, ".first"), result.losses, leaves_of_first);
    }
  }
  summarize(verdict, leaves);
  if (!options.dump.empty()) write_gradients(fs, options.dump, verdict.result.losses, leaves);
  return verdict;
}

}  // namespace models
