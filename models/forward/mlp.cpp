// Experts run one after the other, in the order of their numbers, so that memory holds the weights
// of one expert at a time and sums have one order.
// Truth: transformers' LlamaMLP, DeepseekV3MoE, Qwen3MoeSparseMoeBlock, Qwen3_5MoeSparseMoeBlock,
// DeepseekV4SparseMoeBlock, Gemma2MLP, NemotronMLP, Starcoder2MLP, GptOssExperts, Llama4TextMoe,
// NemotronHMoE.
#include "models/forward/mlp.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/linear.h"
#include "models/forward/router.h"

namespace models {
namespace {

at::Tensor activated(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kSquaredRelu:
      return at::relu(x).square();
  }
  return {};
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, const MixtureOfExperts& config) {
  const double limit = config.limit;
  const at::Tensor g = limit > 0 ? gate.clamp_max(limit) : gate;
  const at::Tensor factor = limit > 0 ? up.clamp(-limit, limit) : up;
  if (config.gain == 1 && config.offset == 0) return activated(g, config.activation) * factor;
  return g * (config.gain * g).sigmoid() * (factor + config.offset);
}

at::Tensor part(const DenseMlp& config, const SectionWeights& weights, const at::Tensor& x,
                ForwardState&) {
  const auto projected = [&](const at::Tensor& in, Role weight, Role bias) {
    const at::Tensor out = linear(in, weights, weight);
    return config.bias ? out + weights.get(bias) : out;
  };
  const at::Tensor up = projected(x, Role::kUp, Role::kUpBias);
  const at::Tensor inner =
      config.gated ? activated(projected(x, Role::kGate, Role::kGateBias), config.activation) * up
                   : activated(up, config.activation);
  return projected(inner, Role::kDown, Role::kDownBias);
}

// tokens: [tokens, D].
Routing routing_of(const RouterConfig& router, const SectionWeights& weights,
                   const at::Tensor& tokens, ForwardState& state) {
  const at::Tensor plain = linear(tokens.to(at::kFloat), weights.get_f32(Role::kRouter));
  const at::Tensor logits =
      router.logit_bias ? plain + weights.get_f32(Role::kRouterLogitBias) : plain;
  if (state.router_loss) {
    state.router_losses.push_back(state.router_loss(router, logits, state.left_out));
  }
  return route(
      router, logits, router.selection_bias ? weights.get_f32(Role::kRouterBias) : at::Tensor(),
      router.by_token ? weights.table_rows(Role::kRouterTable, state.ids.flatten(), router.experts)
                      : at::Tensor());
}

// The numbers of the tokens [n] that are sent to each expert, of experts that some token is sent
// to. They are found on the CPU, so that a device is waited for once and not for every expert.
std::map<int64_t, at::Tensor> routed_rows(const Routing& routing, int64_t experts,
                                          const SectionWeights& weights) {
  const at::Tensor chosen = weights.on_host(routing.experts);
  std::map<int64_t, at::Tensor> routed;
  for (int64_t expert = 0; expert < experts; ++expert) {
    const at::Tensor rows = chosen.eq(expert).any(-1).nonzero().squeeze(-1);
    if (rows.numel() > 0) routed.emplace(expert, rows);
  }
  return routed;
}

// tokens: [tokens, D], or the latent channels of each.
at::Tensor sum_of_experts(const MixtureOfExperts& config, const SectionWeights& weights,
                          const at::Tensor& tokens, const Routing& routing, ForwardState& state) {
  at::Tensor sum = at::zeros_like(tokens);
  const std::map<int64_t, at::Tensor> routed = routed_rows(routing, config.router.experts, weights);
  std::vector<int64_t> experts;
  for (const auto& [expert, rows] : routed) experts.push_back(expert);
  weights.expect_experts(experts);
  if (state.routed_experts != nullptr) *state.routed_experts += std::ssize(routed);
  for (const int64_t expert : experts) {
    const at::Tensor rows = weights.on_device(routed.at(expert));
    const at::Tensor chosen = routing.experts.eq(expert);
    const at::Tensor share = (routing.weights * chosen).sum(-1).index_select(0, rows);
    const at::Tensor chosen_tokens = tokens.index_select(0, rows);
    const at::Tensor x = config.weighted_input
                             ? (chosen_tokens * share.unsqueeze(-1)).to(tokens.scalar_type())
                             : chosen_tokens;
    const auto of_expert = [&](const at::Tensor& in, Role weight, Role bias) {
      const at::Tensor out = linear(in, weights, weight, expert);
      return config.bias ? out + weights.get(bias, expert) : out;
    };
    const at::Tensor up = of_expert(x, Role::kExpertUp, Role::kExpertUpBias);
    const at::Tensor inner =
        config.gated ? gated(of_expert(x, Role::kExpertGate, Role::kExpertGateBias), up, config)
                     : activated(up, config.activation);
    const at::Tensor out = of_expert(inner, Role::kExpertDown, Role::kExpertDownBias);
    const at::Tensor weighted = config.weighted_input ? out : out * share.unsqueeze(-1);
    sum.index_add_(0, rows, weighted.to(sum.scalar_type()));
  }
  return sum;
}

// The router reads tokens [tokens, D] whatever the experts read.
at::Tensor routed_experts(const MixtureOfExperts& config, const SectionWeights& weights,
                          const at::Tensor& tokens, ForwardState& state) {
  const Routing routing = routing_of(config.router, weights, tokens, state);
  if (config.latent == 0) return sum_of_experts(config, weights, tokens, routing, state);
  const at::Tensor latent = linear(tokens, weights, Role::kLatentDown);
  return linear(sum_of_experts(config, weights, latent, routing, state), weights, Role::kLatentUp);
}

at::Tensor shared_experts(const MixtureOfExperts& config, const SectionWeights& weights,
                          const at::Tensor& x) {
  const at::Tensor up = linear(x, weights, Role::kSharedUp);
  const at::Tensor inner = config.gated ? gated(linear(x, weights, Role::kSharedGate), up, config)
                                        : activated(up, config.activation);
  return linear(inner, weights, Role::kSharedDown);
}

at::Tensor part(const MixtureOfExperts& config, const SectionWeights& weights, const at::Tensor& x,
                ForwardState& state) {
  const at::Tensor routed = routed_experts(config, weights, x.flatten(0, 1), state).view(x.sizes());
  if (config.shared_width == 0) return routed;
  const auto of_shared = [&config, weights](ForwardState&, const std::vector<at::Tensor>& given) {
    return std::vector<at::Tensor>{shared_experts(config, weights, given[0])};
  };
  // Where all of the experts run again, these do too.
  const bool again = state.recomputed.shared_experts && !state.recomputed.experts;
  const at::Tensor shared = run_part(again, "shared_experts", of_shared, {x}, state)[0];
  if (!config.shared_gated) return routed + shared;
  return routed + linear(x, weights.get(Role::kSharedWeight)).sigmoid() * shared;
}

at::Tensor part(const NoMlp&, const SectionWeights&, const at::Tensor&, ForwardState&) {
  bridge::internal_error("the MLP of a layer that has none");
}

}  // namespace

at::Tensor mlp(const MlpConfig& config, const SectionWeights& weights, const at::Tensor& x,
               ForwardState& state) {
  const bool dense = std::holds_alternative<DenseMlp>(config);
  const auto all = [&config, weights](ForwardState& now, const std::vector<at::Tensor>& given) {
    return std::visit(
        [&](const auto& kind) {
          return std::vector<at::Tensor>{part(kind, weights, given[0], now)};
        },
        config);
  };
  const bool again = dense ? state.recomputed.mlp : state.recomputed.experts;
  return run_part(again, dense ? "mlp" : "moe", all, {x}, state)[0];
}

}  // namespace models
