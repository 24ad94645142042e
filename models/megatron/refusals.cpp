// Settings of Megatron's classes that change the forward pass and are not computed here. The
// neutral value of each is its class's default, so an absent setting is neutral.
// Truth: transformer_config.py, models/gpt/gpt_model.py, transformer/moe/router.py (core 0.16.1),
// Megatron-LM main and dev.
#include <string>
#include <string_view>
#include <vector>

#include "models/megatron/config.h"

namespace models {
namespace {

constexpr std::string_view kFlags[] = {"mtp_use_repeated_layer",
                                       "qk_l2_norm",
                                       "apply_residual_connection_post_layernorm",
                                       "enable_mhc_connections",
                                       "head_wise_attn_gate",
                                       "heterogeneous_block_specs",
                                       "is_hybrid_model",
                                       "moe_apply_probs_on_input",
                                       "moe_router_force_load_balancing",
                                       "use_mup"};

constexpr std::string_view kSettings[] = {"softmax_scale",
                                          "no_rope_freq",
                                          "rotary_base_per_layer",
                                          "moe_latent_size",
                                          "moe_expert_capacity_factor",
                                          "moe_expert_rank_capacity_factor",
                                          "moe_input_jitter_eps",
                                          "moe_router_force_biased",
                                          "moe_router_topk_limited_devices",
                                          "moe_shared_expert_glu_interleave_size",
                                          "mtp_hybrid_override_pattern"};

void check_activation(const Settings& model, AttentionVariant variant) {
  const std::optional<Settings> activation = model.section("activation_func");
  const std::string function = activation ? activation->text_or("_target_", "") : "";
  if (!model.flag_or("gated_linear_unit", false) || function != "torch.nn.functional.silu") {
    model.not_supported("activation_func",
                        "a gated unit with torch.nn.functional.silu is what is computed here");
  }
  if (model.has("activation_func_clamp_value") && variant != AttentionVariant::kDsv4Hybrid) {
    model.not_supported("activation_func_clamp_value", "computed for dsv4_hybrid only");
  }
  if (model.real_or("glu_linear_offset", 0) != 0) {
    model.not_supported("glu_linear_offset", "0 is the one that is computed here");
  }
}

void check_router(const Settings& model) {
  constexpr std::string_view kName = "moe_router_load_balancing_type";
  const std::vector<std::string> types = model.is_list(kName)
                                             ? model.texts(kName)
                                             : std::vector<std::string>{model.text_or(kName, "")};
  for (const std::string& type : types) {
    if (type == "sinkhorn") model.not_supported(kName, "'sinkhorn' is not computed here");
  }
}

// Latent attention and dsv4_hybrid have rotary encodings of their own.
void check_own_rotary(const Settings& model) {
  if (model.text_or("position_embedding_type", "learned_absolute") == "learned_absolute") {
    model.not_supported("position_embedding_type", "learned positions are not computed here");
  }
  if (model.flag_or("rotary_interleaved", false)) {
    model.not_supported("rotary_interleaved", "not computed with this attention");
  }
  if (model.has("window_size")) {
    model.not_supported("window_size", "not computed with this attention");
  }
}

void check_dsv4_hybrid(const Settings& model) {
  check_own_rotary(model);
  if (model.flag_or("layernorm_zero_centered_gamma", false)) {
    model.not_supported("layernorm_zero_centered_gamma", "not computed for dsv4_hybrid");
  }
  if (!model.flag_or("qk_layernorm", false)) {
    model.not_supported("qk_layernorm", "dsv4_hybrid without norms is not computed here");
  }
  if (model.real_or("rotary_percent", 1) != 1) {
    model.not_supported("rotary_percent", "dsv4_hybrid turns whole parts of heads");
  }
}

}  // namespace

void check_computed(const Settings& model) {
  const AttentionVariant variant = attention_variant(model);
  if (model.text_or("normalization", "LayerNorm") != "RMSNorm") {
    model.not_supported("normalization", "RMSNorm is the one that is computed here");
  }
  check_activation(model, variant);
  for (const std::string_view flag : kFlags) {
    if (model.flag_or(flag, false)) model.not_supported(flag, "not computed here");
  }
  for (const std::string_view setting : kSettings) {
    if (model.has(setting)) model.not_supported(setting, "not computed here");
  }
  if (model.text_or("softmax_type", "vanilla") != "vanilla") {
    model.not_supported("softmax_type", "'vanilla' is the one that is computed here");
  }
  if (model.flag_or("rope_scaling", false) && model.has("seq_len_interpolation_factor")) {
    model.not_supported("seq_len_interpolation_factor", "not computed with rope_scaling");
  }
  check_router(model);
  if (variant == AttentionVariant::kSparse && !model.flag_or("multi_latent_attention", false)) {
    model.not_supported("experimental_attention_variant",
                        "'dsa' is computed with multi_latent_attention only");
  }
  const bool is_hybrid = variant == AttentionVariant::kDsv4Hybrid;
  if (model.flag_or("enable_hyper_connections", false) != is_hybrid) {
    model.not_supported("enable_hyper_connections", "what is computed is dsv4_hybrid with them");
  }
  if (is_hybrid) {
    check_dsv4_hybrid(model);
  } else if (model.flag_or("multi_latent_attention", false)) {
    check_own_rotary(model);
  }
}

}  // namespace models
