// Settings of Megatron's classes that change the forward pass and are not computed here. The
// neutral value of each is its class's default, so an absent setting is neutral.
// Truth: transformer_config.py, models/gpt/gpt_model.py, transformer/moe/router.py (core 0.16.1),
// Megatron-LM main and dev.
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/megatron/config.h"

namespace models {
namespace {

constexpr std::string_view kFlags[] = {
    "mtp_use_repeated_layer",    "apply_residual_connection_post_layernorm", "head_wise_attn_gate",
    "heterogeneous_block_specs", "moe_router_force_load_balancing",          "use_mup"};

constexpr std::string_view kSettings[] = {"rotary_base_per_layer",
                                          "moe_expert_capacity_factor",
                                          "moe_expert_rank_capacity_factor",
                                          "moe_input_jitter_eps",
                                          "moe_router_force_biased",
                                          "moe_router_topk_limited_devices",
                                          "moe_shared_expert_glu_interleave_size",
                                          "mtp_hybrid_override_pattern"};

struct KnownActivation {
  std::string_view function;
  Activation activation;
};
constexpr KnownActivation kActivations[] = {
    {"torch.nn.functional.silu", Activation::kSilu},
    {"megatron.core.activations.fast_gelu", Activation::kGeluTanh},
    {"megatron.bridge.models.gemma.gemma3_provider.openai_gelu", Activation::kGeluTanh},
    {"megatron.core.activations.squared_relu", Activation::kSquaredRelu},
};
// The class's default. Its fused form with a bias is GELU with tanh, and the other one is not.
constexpr std::string_view kGelu = "torch.nn.functional.gelu";

void check_activation(const Settings& model) {
  const bool is_gated = model.flag_or("gated_linear_unit", false);
  const bool is_quick = is_quick_gelu(model);
  const Activation activation = is_quick ? Activation::kSilu : activation_of(model);
  const Activation computed = is_gated ? Activation::kSilu : Activation::kSquaredRelu;
  if (model.has("num_moe_experts") && activation != computed) {
    model.not_supported("activation_func",
                        "experts with a gated torch.nn.functional.silu or quick_gelu, or with "
                        "squared_relu and no gate, are computed here");
  }
}

void check_softmax(const Settings& model, AttentionVariant variant) {
  const std::string type = model.text_or("softmax_type", "vanilla");
  if (type != "vanilla" && type != "learnable") {
    model.not_supported("softmax_type", "'vanilla' and 'learnable' are computed here");
  }
  if (type == "learnable" && (variant == AttentionVariant::kDsv4Hybrid ||
                              model.flag_or("multi_latent_attention", false))) {
    model.not_supported("softmax_type", "'learnable' is not computed with this attention");
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
  for (const std::string_view name : {"window_size", "softmax_scale"}) {
    if (model.has(name)) model.not_supported(name, "not computed with this attention");
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

// The hyper-connections of Megatron-LM main: what its configuration or its layers refuse with them.
void check_main_hyper_connections(const Settings& model) {
  constexpr std::string_view kName = "enable_mhc_connections";
  if (!model.flag_or(kName, false)) return;
  const auto refuse_with = [&](std::string_view other) {
    model.not_supported(kName, fmt::format("with {}: Megatron-LM main has no such model", other));
  };
  for (const std::string_view flag : {"enable_hyper_connections", "fp32_residual_connection",
                                      "inference_fuse_tp_communication"}) {
    if (model.flag_or(flag, false)) refuse_with(flag);
  }
  for (const std::string_view setting : {"mtp_num_layers", "num_moe_experts"}) {
    if (model.has(setting)) refuse_with(setting);
  }
  if (model.integer_or("pipeline_model_parallel_size", 1) > 1) {
    refuse_with("pipeline_model_parallel_size above 1");
  }
  if (model.real_or("mhc_init_gating_factor", 0) < 0) {
    model.refuse("mhc_init_gating_factor", "negative");
  }
}

// Norms of other parts than the residual stream have no bias here.
void check_norms(const Settings& model, AttentionVariant variant) {
  const std::string norm = model.text_or("normalization", "LayerNorm");
  if (norm == "RMSNorm") return;
  const bool others = model.flag_or("qk_layernorm", false) || model.has("num_moe_experts") ||
                      model.flag_or("multi_latent_attention", false) ||
                      variant != AttentionVariant::kNone;
  if (norm != "LayerNorm" || others) {
    model.not_supported("normalization",
                        "RMSNorm is computed here, and LayerNorm of dense models without norms of "
                        "queries and keys");
  }
}

}  // namespace

Activation activation_of(const Settings& model) {
  const std::optional<Settings> section = model.section("activation_func");
  const std::string function = section ? section->text_or("_target_", "") : std::string(kGelu);
  for (const auto& [name, activation] : kActivations) {
    if (name == function) return activation;
  }
  const bool fused =
      model.flag_or("bias_activation_fusion", false) && model.flag_or("add_bias_linear", true);
  if (function == kGelu && fused && !model.flag_or("gated_linear_unit", false)) {
    return Activation::kGeluTanh;
  }
  model.not_supported(
      "activation_func",
      fmt::format("'{}' is not computed here (silu, fast_gelu, squared_relu and the "
                  "fused gelu are)",
                  bridge::printable(function)));
}

void check_computed(const Settings& model) {
  const AttentionVariant variant = attention_variant(model);
  check_norms(model, variant);
  check_activation(model);
  for (const std::string_view flag : kFlags) {
    if (model.flag_or(flag, false)) model.not_supported(flag, "not computed here");
  }
  for (const std::string_view setting : kSettings) {
    if (model.has(setting)) model.not_supported(setting, "not computed here");
  }
  check_softmax(model, variant);
  if (model.flag_or("rope_scaling", false) && model.has("seq_len_interpolation_factor")) {
    model.not_supported("seq_len_interpolation_factor", "not computed with rope_scaling");
  }
  check_router(model);
  check_main_hyper_connections(model);
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
