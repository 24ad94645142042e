#include "models/reference_check.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "bridge/io/error.h"
#include "models/forward.h"

namespace models {
namespace {

constexpr double kTolerance = 1e-4;

// The best token of every row, found block by block.
class Best {
 public:
  void add(const at::Tensor& block, int64_t first) {
    const auto [value, index] = block.max(-1);
    if (!value_.defined()) {
      value_ = value;
      index_ = index + first;
      return;
    }
    const at::Tensor better = value > value_;
    index_ = at::where(better, index + first, index_);
    value_ = at::where(better, value, value_);
  }
  const at::Tensor& index() const { return index_; }

 private:
  at::Tensor value_;
  at::Tensor index_;
};

class Comparison {
 public:
  Comparison(std::string name, at::Tensor reference, int64_t judged_rows)
      : reference_(reference.narrow(1, 0, judged_rows).flatten(2)) {
    difference_.name = std::move(name);
    difference_.rows = reference_.size(0) * judged_rows;
    // One number has no deviation.
    const double deviation = reference.numel() > 1 ? reference.std().item<double>() : 0;
    difference_.allowed = kTolerance * std::max(1.0, deviation);
  }

  // Columns from `first` on.
  at::Tensor add(const at::Tensor& ours, int64_t first) {
    const at::Tensor judged = ours.to(at::kCPU, at::kFloat).narrow(1, 0, reference_.size(1));
    const at::Tensor theirs = reference_.narrow(2, first, judged.size(2));
    if (judged.numel() > 0) {
      const double largest = (judged - theirs).abs().max().item<double>();
      if (!(largest <= difference_.largest)) difference_.largest = largest;  // a NaN stays
    }
    return judged;
  }

  // The same for logits, whose best tokens are compared too.
  void add_logits(const at::Tensor& block, int64_t first) {
    const at::Tensor judged = add(block, first);
    ours_.add(judged, first);
    theirs_.add(reference_.narrow(2, first, judged.size(2)), first);
  }

  Difference finish() {
    if (ours_.index().defined()) {
      difference_.top1 = ours_.index().eq(theirs_.index()).sum().item<int64_t>();
    }
    return difference_;
  }

 private:
  at::Tensor reference_;
  Difference difference_;
  Best ours_;
  Best theirs_;
};

void check_heads(const ModelConfig& config, const ReferenceLogits& reference) {
  const int64_t depths = static_cast<int64_t>(config.mtp.size());
  const std::string one_too_many = ReferenceLogits::head_name(depths + 1);
  if (reference.has(one_too_many)) {
    bridge::bad_input(
        fmt::format("the reference has {}, the model has {} MTP depths", one_too_many, depths));
  }
}

}  // namespace

std::vector<Difference> check_against(Weights& weights, const Compute& compute,
                                      const ReferenceLogits& reference) {
  const ModelConfig& config = weights.config();
  check_heads(config, reference);
  const int64_t rows = reference.judged_rows();
  std::vector<Difference> differences;
  const std::vector<at::Tensor> hidden = run_layers(
      weights, compute, reference.ids(), [&](const std::string& name, const at::Tensor& state) {
        if (!reference.has(name)) return;
        Comparison comparison(name, reference.tensor(name, state.sizes().slice(2)), rows);
        comparison.add(state.flatten(2), 0);
        differences.push_back(comparison.finish());
      });

  std::vector<Comparison> heads;
  std::vector<at::Tensor> judged;
  for (size_t head = 0; head < hidden.size(); ++head) {
    const std::string name = ReferenceLogits::head_name(static_cast<int64_t>(head));
    if (head > 0 && !reference.has(name)) continue;
    heads.emplace_back(name, reference.tensor(name, {config.vocab}), rows);
    judged.push_back(hidden[head]);
  }
  run_output(weights, compute, judged, [&](int64_t head, int64_t first, const at::Tensor& block) {
    heads[static_cast<size_t>(head)].add_logits(block, first);
  });
  for (Comparison& head : heads) differences.push_back(head.finish());
  return differences;
}

}  // namespace models
