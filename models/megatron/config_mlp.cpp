// The feed-forward part of a layer, as Megatron-Core's modules read the configuration.
// Truth: megatron/core/transformer/transformer_config.py, transformer/moe/moe_layer.py,
// moe/moe_utils.py (core 0.16.1 and 0.19.2).
#include <fmt/format.h>

#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/megatron/config.h"

namespace models {
namespace {

RouterConfig router_of(const Settings& model) {
  RouterConfig router;
  router.experts = model.integer("num_moe_experts");
  router.chosen = model.integer_or("moe_router_topk", 2);
  router.factor = model.real_or("moe_router_topk_scaling_factor", 1);
  if (router.factor == 0) router.factor = 1;  // Megatron tests `if scaling_factor:`
  const std::string score = model.text_or("moe_router_score_function", "softmax");
  if (score == "softmax") {
    router.score = RouterScore::kSoftmax;
    // A softmax over the chosen logits equals the softmax over all, normalized.
    router.normalized = !model.flag_or("moe_router_pre_softmax", false);
  } else if (score == "sigmoid" || score == "sqrtsoftplus") {
    router.score = score == "sigmoid" ? RouterScore::kSigmoid : RouterScore::kSqrtSoftplus;
    router.selection_bias = model.flag_or("moe_router_enable_expert_bias", false);
    router.normalized = router.chosen > 1;
  } else {
    model.not_supported(
        "moe_router_score_function",
        fmt::format("'{}' is not computed here (softmax, sigmoid and sqrtsoftplus are)",
                    bridge::printable(score)));
  }
  const int64_t chosen_groups = model.integer_or("moe_router_group_topk", 0);
  const int64_t groups = model.integer_or("moe_router_num_groups", 1);
  if (chosen_groups > 0 && chosen_groups < groups) {  // otherwise all groups are chosen
    router.groups = groups;
    router.chosen_groups = chosen_groups;
    router.ranked_by = router.chosen / chosen_groups;
  }
  return router;
}

}  // namespace

MixtureOfExperts experts_of(const Settings& model, bool hashed) {
  MixtureOfExperts mlp;
  mlp.router = router_of(model);
  mlp.bias = mlp.router.logit_bias = model.flag_or("add_bias_linear", true);
  mlp.width = model.has("moe_ffn_hidden_size") ? model.integer("moe_ffn_hidden_size")
                                               : model.integer("ffn_hidden_size");
  if (hashed) {
    mlp.router.selection_bias = false;
    mlp.router.by_token = true;
  }
  mlp.shared_width = model.integer_or("moe_shared_expert_intermediate_size", 0);
  mlp.shared_gated = mlp.shared_width > 0 && model.flag_or("moe_shared_expert_gate", false);
  if (mlp.bias && mlp.shared_width > 0) {
    model.not_supported("add_bias_linear", "shared experts with biases are not computed here");
  }
  mlp.latent = model.integer_or("moe_latent_size", 0);
  if (mlp.bias && mlp.latent > 0) {
    model.not_supported("add_bias_linear", "latent experts with biases are not computed here");
  }
  mlp.gated = model.flag_or("gated_linear_unit", false);
  if (!is_quick_gelu(model)) mlp.activation = activation_of(model);
  mlp.limit = model.real_or("activation_func_clamp_value", 0);
  mlp.gain = is_quick_gelu(model) ? 1.702 : 1;  // a constant of quick_gelu
  mlp.offset = model.real_or("glu_linear_offset", 0);
  mlp.weighted_input = model.flag_or("moe_apply_probs_on_input", false);
  if (mlp.weighted_input && mlp.router.chosen != 1) {
    model.refuse("moe_apply_probs_on_input", "Megatron-Core takes it with moe_router_topk 1 only");
  }
  return mlp;
}

bool has_experts(const Settings& model, int64_t layer) {
  if (!model.has("num_moe_experts")) return false;
  if (model.is_list("moe_layer_freq")) {
    const std::vector<int64_t> pattern = model.integers("moe_layer_freq");
    if (static_cast<size_t>(layer) >= pattern.size()) {
      model.refuse("moe_layer_freq", fmt::format("none for layer {}", layer));
    }
    return pattern[static_cast<size_t>(layer)] != 0;
  }
  const int64_t every = model.integer_or("moe_layer_freq", 1);
  if (every < 1) model.refuse("moe_layer_freq", "not positive");
  return layer % every == 0;
}

DenseMlp dense_of(const Settings& model) {
  if (is_quick_gelu(model)) {
    model.not_supported("activation_func", "quick_gelu is computed for experts only");
  }
  for (const std::string_view name : {"activation_func_clamp_value", "glu_linear_offset"}) {
    if (model.real_or(name, 0) != 0) model.not_supported(name, "computed for experts only");
  }
  return {model.integer("ffn_hidden_size"), model.flag_or("add_bias_linear", true),
          activation_of(model), model.flag_or("gated_linear_unit", false)};
}

}  // namespace models
