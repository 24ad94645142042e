#include "models/train/router_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros_like.h>

#include <tuple>

namespace models {
namespace {

constexpr double kTiny = 1e-20;

at::Tensor scores_of(const RouterConfig& router, const at::Tensor& logits) {
  if (router.score == RouterScore::kSoftmax) return logits.softmax(-1);
  const at::Tensor raw =
      router.score == RouterScore::kSigmoid ? logits.sigmoid() : at::softplus(logits).sqrt();
  return raw / (raw.sum(-1, /*keepdim=*/true) + kTiny);
}

}  // namespace

bool has_router_loss(const TrainingSettings& settings) {
  return settings.router_loss_weight != 0 &&
         (settings.router_loss == "aux_loss" || settings.router_loss == "seq_aux_loss" ||
          settings.router_loss == "global_aux_loss");
}

at::Tensor router_loss(const RouterConfig& router, const at::Tensor& logits,
                       const at::Tensor& left_out, double weight) {
  const at::Tensor all = scores_of(router, logits);
  const at::Tensor best = std::get<1>(all.topk(router.chosen, -1));
  at::Tensor chosen = at::zeros_like(all.detach()).scatter(-1, best, 1);
  at::Tensor scores = all;
  double tokens = static_cast<double>(logits.size(0));
  if (left_out.defined()) {
    const at::Tensor counts = left_out.logical_not().to(at::kFloat);
    tokens = counts.sum().item<double>();
    chosen = chosen * counts.unsqueeze(-1);
    scores = all * counts.unsqueeze(-1);
  }
  if (tokens == 0) return (scores * chosen).sum();
  const double factor = static_cast<double>(router.experts) * weight /
                        (static_cast<double>(router.chosen) * tokens * tokens);
  return (scores.sum(0) * chosen.sum(0)).sum() * factor;
}

}  // namespace models
