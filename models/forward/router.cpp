#include "models/forward/router.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <tuple>

namespace models {
namespace {

// The value of the reference implementations; it avoids a division by zero if every score is 0.
constexpr double kTiny = 1e-20;

// The ranking, with -inf where the expert's group is not among the best.
at::Tensor within_best_groups(const RouterConfig& router, const at::Tensor& ranking) {
  const at::Tensor grouped = ranking.unflatten(-1, {router.groups, -1});
  const at::Tensor group_scores = std::get<0>(grouped.topk(router.ranked_by, -1)).sum(-1);
  const at::Tensor best = std::get<1>(group_scores.topk(router.chosen_groups, -1));
  const at::Tensor is_best =
      at::zeros_like(group_scores, group_scores.options().dtype(at::kBool)).scatter(-1, best, true);
  return grouped
      .masked_fill(is_best.logical_not().unsqueeze(-1), -std::numeric_limits<float>::infinity())
      .flatten(-2);
}

at::Tensor scores_of(const RouterConfig& router, const at::Tensor& logits) {
  switch (router.score) {
    case RouterScore::kSoftmax:
      return logits.softmax(-1);
    case RouterScore::kSigmoid:
      return logits.sigmoid();
    case RouterScore::kSqrtSoftplus:
      return at::softplus(logits).sqrt();
  }
  return {};
}

at::Tensor best_experts(const RouterConfig& router, const at::Tensor& scores,
                        const at::Tensor& bias) {
  at::Tensor ranking = router.selection_bias ? scores + bias : scores;
  if (router.ranked_by > 0) ranking = within_best_groups(router, ranking);
  return std::get<1>(ranking.topk(router.chosen, -1));
}

}  // namespace

Routing route(const RouterConfig& router, const at::Tensor& logits, const at::Tensor& bias,
              const at::Tensor& by_token) {
  const at::Tensor scores = scores_of(router, logits);
  const at::Tensor experts = router.by_token ? by_token : best_experts(router, scores, bias);
  at::Tensor weights = scores.gather(-1, experts);
  if (router.normalized) weights = weights / (weights.sum(-1, /*keepdim=*/true) + kTiny);
  return {experts, weights * router.factor};
}

}  // namespace models
