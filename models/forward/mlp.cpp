// Experts run one after the other, in the order of their numbers, so that memory holds the weights
// of one expert at a time and sums have one order.
// Truth: transformers' LlamaMLP, DeepseekV3MoE, Qwen3MoeSparseMoeBlock, Qwen3_5MoeSparseMoeBlock,
// DeepseekV4SparseMoeBlock, GptOssExperts.
#include "models/forward/mlp.h"

#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>

#include "models/forward/linear.h"
#include "models/forward/router.h"

namespace models {
namespace {

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, const MixtureOfExperts& config) {
  const double limit = config.limit;
  const at::Tensor g = limit > 0 ? gate.clamp_max(limit) : gate;
  const at::Tensor factor = limit > 0 ? up.clamp(-limit, limit) : up;
  if (config.gain == 1 && config.offset == 0) return gated(g, factor);
  return g * (config.gain * g).sigmoid() * (factor + config.offset);
}

at::Tensor part(const DenseMlp& config, const SectionWeights& weights, const at::Tensor& x,
                const ForwardState&) {
  const auto projected = [&](const at::Tensor& in, Role weight, Role bias) {
    return config.bias ? linear(in, weights.get(weight), weights.get(bias))
                       : linear(in, weights.get(weight));
  };
  const at::Tensor inner =
      gated(projected(x, Role::kGate, Role::kGateBias), projected(x, Role::kUp, Role::kUpBias));
  return projected(inner, Role::kDown, Role::kDownBias);
}

// tokens: [tokens, D].
Routing routing_of(const RouterConfig& router, const SectionWeights& weights,
                   const at::Tensor& tokens, const ForwardState& state) {
  const at::Tensor plain = linear(tokens.to(at::kFloat), weights.get_f32(Role::kRouter));
  const at::Tensor logits =
      router.logit_bias ? plain + weights.get_f32(Role::kRouterLogitBias) : plain;
  if (state.on_router) state.on_router(router, logits);
  return route(
      router, logits, router.selection_bias ? weights.get_f32(Role::kRouterBias) : at::Tensor(),
      router.by_token ? weights.table_rows(Role::kRouterTable, state.ids.flatten(), router.experts)
                      : at::Tensor());
}

at::Tensor routed_experts(const MixtureOfExperts& config, const SectionWeights& weights,
                          const at::Tensor& tokens, const ForwardState& state) {
  const Routing routing = routing_of(config.router, weights, tokens, state);
  at::Tensor sum = at::zeros_like(tokens);
  for (int64_t expert = 0; expert < config.router.experts; ++expert) {
    const at::Tensor chosen = routing.experts.eq(expert);
    const at::Tensor rows = chosen.any(-1).nonzero().squeeze(-1);
    if (rows.numel() == 0) continue;
    if (state.routed_experts != nullptr) ++*state.routed_experts;
    const at::Tensor share = (routing.weights * chosen).sum(-1).index_select(0, rows);
    const at::Tensor x = tokens.index_select(0, rows);
    const auto of_expert = [&](const at::Tensor& in, Role weight, Role bias) {
      return config.bias ? linear(in, weights.get(weight, expert), weights.get(bias, expert))
                         : linear(in, weights.get(weight, expert));
    };
    const at::Tensor inner = gated(of_expert(x, Role::kExpertGate, Role::kExpertGateBias),
                                   of_expert(x, Role::kExpertUp, Role::kExpertUpBias), config);
    const at::Tensor out = of_expert(inner, Role::kExpertDown, Role::kExpertDownBias);
    sum.index_add_(0, rows, (out * share.unsqueeze(-1)).to(sum.scalar_type()));
  }
  return sum;
}

at::Tensor part(const MixtureOfExperts& config, const SectionWeights& weights, const at::Tensor& x,
                const ForwardState& state) {
  const at::Tensor routed = routed_experts(config, weights, x.flatten(0, 1), state).view(x.sizes());
  if (config.shared_width == 0) return routed;
  const at::Tensor inner = gated(linear(x, weights.get(Role::kSharedGate)),
                                 linear(x, weights.get(Role::kSharedUp)), config);
  const at::Tensor shared = linear(inner, weights.get(Role::kSharedDown));
  if (!config.shared_gated) return routed + shared;
  return routed + linear(x, weights.get(Role::kSharedWeight)).sigmoid() * shared;
}

}  // namespace

at::Tensor mlp(const MlpConfig& config, const SectionWeights& weights, const at::Tensor& x,
               const ForwardState& state) {
  return std::visit([&](const auto& kind) { return part(kind, weights, x, state); }, config);
}

}  // namespace models
