// The linear layer y = x W^T (+ b), with the weight as [out, in].
//
// A training step may compute those linears of a model that Megatron-Core gives to
// TransformerEngine in other numbers (LinearRule); linear() with a role is one of them. The output
// layer, routers, embeddings, gates of shared experts and products by group of heads are none.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <string>

#include "models/forward/checkpoint.h"
#include "models/weights/weights.h"

namespace models {

inline at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  return x.matmul(weight.t());
}

// How linears are computed in regions of a pass; outside of them it is x W^T. A region may lie
// within another. It is told of parts that run twice, as it may keep something of the first run for
// the second. For one thread.
class LinearRule : public RunObserver {
 public:
  // module: the canonical name of the weight. x: [..., in]; weight: [out, in]; gives [..., out].
  virtual at::Tensor linear(const std::string& module, const at::Tensor& x,
                            const at::Tensor& weight) = 0;
  // True: one region around all decoder layers and one around every multi-token prediction depth,
  // as long as the pass is in them.
  virtual bool has_outer_region() const = 0;
  enum class Region { kOuter, kLayer };
  virtual void enter(Region region) = 0;
  virtual void leave() = 0;
};

// A region as long as the object lives; of no rule: nothing.
class LinearRegion {
 public:
  LinearRegion(LinearRule* rule, LinearRule::Region region) : rule_(rule) {
    if (rule_ != nullptr) rule_->enter(region);
  }
  LinearRegion(const LinearRegion&) = delete;
  LinearRegion& operator=(const LinearRegion&) = delete;
  ~LinearRegion() {
    if (rule_ != nullptr) rule_->leave();
  }

 private:
  LinearRule* rule_;
};

// The rows of a weight that a pass without gradients reads at once. The shape alone decides, so
// that the same weights give the same bits on any machine and in any process.
int64_t linear_rows(const bridge::Shape& shape);

// x W^T, by blocks of rows of a large weight: [..., in] becomes [..., out].
at::Tensor linear_by_rows(const at::Tensor& x, const SectionWeights& weights, Role role,
                          int64_t expert);

// With the weight of a role, by the rule of the pass.
inline at::Tensor linear(const at::Tensor& x, const SectionWeights& weights, Role role,
                         int64_t expert = -1) {
  LinearRule* const rule = weights.linears();
  if (rule == nullptr && c10::InferenceMode::is_enabled()) {
    return linear_by_rows(x, weights, role, expert);
  }
  const at::Tensor weight = weights.get(role, expert);
  return rule == nullptr ? linear(x, weight)
                         : rule->linear(to_string(weights.id(role, expert)), x, weight);
}

}  // namespace models
