#include "models/compare/forward_comparison.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "models/compare/bits.h"
#include "models/compare/head_rows.h"
#include "models/compare/head_statistics.h"
#include "models/compare/tolerance.h"
#include "models/forward/seeded_state.h"

namespace models {
namespace {

constexpr int64_t kBest = 5;

// The reason why the states and logits of the two cannot be compared; "" if they can.
std::string mismatch(const ModelConfig& a, const ModelConfig& b, bool heads) {
  const auto differ = [](std::string_view what, auto ours, auto theirs) {
    return ours == theirs ? "" : fmt::format("{}: {} and {}", what, ours, theirs);
  };
  for (std::string reason :
       {differ("the hidden size", a.hidden, b.hidden), differ("the vocabulary", a.vocab, b.vocab),
        differ("labels", a.labels, b.labels),
        differ("residual streams", a.hyper.streams, b.hyper.streams),
        differ("layers", a.layers.size(), b.layers.size()),
        heads ? differ("MTP depths", a.mtp.size(), b.mtp.size()) : ""}) {
    if (!reason.empty()) return reason;
  }
  return "";
}

// Compares the logits of one head on both sides, some rows and one block of the vocabulary at a
// time. Where there are kernels for the device, logits stay there, else they come to the CPU.
class HeadComparison {
 public:
  HeadComparison(std::string name, const Compute& compute) : compute_(compute) {
    out_.name = std::move(name);
  }

  // A block of the weights of one side's output layer.
  struct Block {
    const OutputLayer& output;
    const at::Tensor& weight;
    at::Tensor logits(const at::Tensor& hidden) const {
      return output.logits(hidden, weight).to(at::kFloat);
    }
  };

  // ours, theirs: [B S, D], the inputs of the head. a, b: blocks that start at row `first`. rows:
  // how many rows are compared at once.
  void add(const at::Tensor& ours, const at::Tensor& theirs, const Block& a, const Block& b,
           int64_t first, int64_t rows) {
    out_.rows = ours.size(0);
    size_t part = 0;
    for (int64_t row = 0; row < out_.rows; row += rows, ++part) {
      const int64_t count = std::min(rows, out_.rows - row);
      if (part == parts_.size()) parts_.emplace_back();
      const at::Tensor logits_a = a.logits(ours.narrow(0, row, count));
      const at::Tensor logits_b = b.logits(theirs.narrow(0, row, count));
      values_ += logits_a.numel();
      if (compute_.kernels != nullptr) {
        add_on_device(logits_a, logits_b, first, parts_[part]);
      } else {
        add(logits_a.to(at::kCPU), logits_b.to(at::kCPU), first, part);
      }
    }
  }

  HeadDifference finish() {
    for (size_t part = 0; part < parts_.size(); ++part) {
      if (parts_[part].on_device) {
        take_rows(part);
      } else {
        take(parts_[part]);
      }
    }
    const double count = static_cast<double>(values_);
    const double variance = squares_ / count - (sum_ / count) * (sum_ / count);
    out_.mean = distance_ / count;
    out_.judged = judged_difference(compute_, out_.largest, quartile_.value());
    out_.allowed = allowed_difference(compute_, std::sqrt(std::max(0.0, variance)), out_.name);
    return out_;
  }

 private:
  // The statistics of some rows over the blocks so far.
  struct Part {
    Divergence divergence;
    BestTokens best_a{kBest};
    BestTokens best_b{kBest};
    std::optional<HeadRows> on_device;  // instead of all others
  };

  void add(const at::Tensor& ours, const at::Tensor& theirs, int64_t first, size_t number) {
    Part& part = parts_[number];
    const at::Tensor distance = distance_of(ours, theirs);
    quartile_.add(distance, number);
    out_.identical = out_.identical && count_different(ours, theirs) == 0;
    keep_larger(out_.largest, distance.max().item().toDouble());
    distance_ += distance.sum(at::kDouble).item().toDouble();
    sum_ += ours.sum(at::kDouble).item().toDouble();
    squares_ += ours.to(at::kDouble).pow(2).sum().item().toDouble();
    part.divergence.add(ours, theirs);
    part.best_a.add(ours, first);
    part.best_b.add(theirs, first);
  }

  void add_on_device(const at::Tensor& ours, const at::Tensor& theirs, int64_t first, Part& part) {
    if (!part.on_device) part.on_device.emplace(*compute_.kernels, ours.device(), ours.size(0));
    part.on_device->add(ours, theirs, first);
  }

  // Adds what has been gathered of a part to the result.
  void take(const Part& part) {
    out_.divergence += part.divergence.sum() / static_cast<double>(out_.rows);
    const at::Tensor a = part.best_a.tokens();
    const at::Tensor b = part.best_b.tokens();
    out_.top1 += a.select(1, 0).eq(b.select(1, 0)).sum().item().toLong();
    out_.top5 += std::get<0>(a.sort(1)).eq(std::get<0>(b.sort(1))).all(1).sum().item().toLong();
  }

  void take_rows(size_t number) {
    const double vocab = static_cast<double>(values_ / out_.rows);
    std::vector<double> means;
    for (const cuda::HeadRow& row : parts_[number].on_device->rows()) {
      out_.identical = out_.identical && row.difference.different == 0;
      keep_larger(out_.largest, row.difference.largest);
      distance_ += row.distance;
      sum_ += row.sum;
      squares_ += row.squares;
      out_.divergence += divergence_of(row) / static_cast<double>(out_.rows);
      out_.top1 += same_best(row) ? 1 : 0;
      out_.top5 += same_best_five(row) ? 1 : 0;
      means.push_back(row.distance / vocab);
    }
    quartile_.add(at::tensor(at::ArrayRef<double>(means)).unsqueeze(1), number);
  }

  Compute compute_;
  HeadDifference out_;
  double distance_ = 0;
  double sum_ = 0;
  double squares_ = 0;
  int64_t values_ = 0;
  RowQuartile quartile_;
  std::vector<Part> parts_;
};

void compare_heads(Weights& a, Weights& b, const Compute& compute,
                   const std::vector<at::Tensor>& ours, const std::vector<at::Tensor>& theirs,
                   ForwardVerdict& verdict) {
  std::vector<HeadComparison> heads;
  for (size_t head = 0; head < ours.size(); ++head) {
    heads.emplace_back(head == 0 ? "logits" : fmt::format("mtp_logits.{}", head - 1), compute);
  }
  const OutputLayer output_a(a, compute);
  const OutputLayer output_b(b, compute);
  for (int64_t first = 0; first < a.config().output_rows(); first += output_a.step()) {
    const at::Tensor block_a = output_a.block(first);
    const at::Tensor block_b = output_b.block(first);
    for (size_t head = 0; head < heads.size(); ++head) {
      heads[head].add(ours[head].flatten(0, 1), theirs[head].flatten(0, 1), {output_a, block_a},
                      {output_b, block_b}, first, output_a.rows_at_once());
    }
  }
  for (HeadComparison& head : heads) verdict.heads.push_back(head.finish());
}

LayerState moved(LayerState state, at::Device device) {
  const auto move = [&](at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.to(device);
  };
  move(state.hidden);
  for (auto& [token, index] : state.indices) {
    move(index.q);
    move(index.keys);
    move(index.weights);
  }
  return state;
}

}  // namespace

ForwardVerdict compare_forward(PairedWeights& pair, const Compute& compute, const at::Tensor& ids,
                               const std::optional<LayerRange>& layers, const LayerInputs& inputs) {
  const c10::InferenceMode no_autograd;
  const bool has_heads = !layers || layers->has_heads;
  Weights& a = pair.a();
  Weights& b = pair.b();
  ForwardVerdict verdict;
  verdict.layer_by_layer = inputs.seed.has_value();
  verdict.not_comparable = mismatch(a.config(), b.config(), has_heads);
  if (!verdict.not_comparable.empty()) return verdict;
  PassOptions of_a{.layers = layers};
  PassOptions of_b{.layers = layers};
  if (inputs.receive) {
    LayerStates states = inputs.receive();
    of_a.start = moved(std::move(states.a), compute.device);
    of_b.start = moved(std::move(states.b), compute.device);
  }
  if (inputs.seed) of_a.input = of_b.input = seeded_input(a.config(), compute, ids, *inputs.seed);
  of_a.coverage = &verdict.coverage;
  ForwardPass pass_a(a, compute, ids, of_a);
  ForwardPass pass_b(b, compute, ids, of_b);
  StateComparison states(compute);
  while (true) {
    std::optional<HiddenState> ours;
    std::optional<HiddenState> theirs;
    pair.advance([&] { ours = pass_a.next(); }, [&] { theirs = pass_b.next(); });
    if (!ours) break;
    states.add(ours->name, ours->hidden, theirs.value().hidden);
    if (inputs.check) inputs.check();
  }
  verdict.states = states.finish();
  if (inputs.send) inputs.send({pass_a.layer_state(), pass_b.layer_state()});
  if (has_heads) compare_heads(a, b, compute, pass_a.heads(), pass_b.heads(), verdict);
  return verdict;
}

}  // namespace models
