#include "models/forward/index_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace models {

at::Tensor index_scores(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& weights) {
  const double scale =
      1 / std::sqrt(static_cast<double>(q.size(-1)) * static_cast<double>(q.size(-2)));
  // All queries and heads have the same keys, so one product is enough.
  const at::Tensor dots = q.to(at::kFloat)
                              .flatten(1, 2)
                              .matmul(keys.to(at::kFloat).transpose(1, 2))
                              .relu_()
                              .unflatten(1, {q.size(1), q.size(2)});
  return dots.mul_((weights.to(at::kFloat) * scale).unsqueeze(-1)).sum(2);
}

at::Tensor best_scored(const at::Tensor& scores, const at::Tensor& allowed, int64_t chosen) {
  const at::Tensor ranked =
      scores.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity());
  const at::Tensor best = std::get<1>(ranked.topk(std::min(chosen, scores.size(-1)), -1));
  const at::Tensor is_best =
      at::zeros_like(scores, scores.options().dtype(at::kBool)).scatter(-1, best, true);
  return is_best.logical_and(allowed);
}

}  // namespace models
