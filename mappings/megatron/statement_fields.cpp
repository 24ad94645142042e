#include "mappings/megatron/statement_fields.h"

#include <algorithm>
#include <cmath>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

struct Field {
  std::string_view name;
  FieldKind kind;
};

constexpr Field kFields[] = {
    {"num_layers", FieldKind::kLayout},
    {"hidden_size", FieldKind::kLayout},
    {"num_attention_heads", FieldKind::kLayout},
    {"num_query_groups", FieldKind::kLayout},
    {"kv_channels", FieldKind::kLayout},
    {"ffn_hidden_size", FieldKind::kLayout},
    {"multi_latent_attention", FieldKind::kLayout},
    {"q_lora_rank", FieldKind::kLayout},
    {"kv_lora_rank", FieldKind::kLayout},
    {"qk_head_dim", FieldKind::kLayout},
    {"qk_pos_emb_head_dim", FieldKind::kLayout},
    {"v_head_dim", FieldKind::kLayout},
    {"experimental_attention_variant", FieldKind::kLayout},
    {"linear_attention_freq", FieldKind::kLayout},
    {"linear_conv_kernel_dim", FieldKind::kLayout},
    {"linear_key_head_dim", FieldKind::kLayout},
    {"linear_value_head_dim", FieldKind::kLayout},
    {"linear_num_key_heads", FieldKind::kLayout},
    {"linear_num_value_heads", FieldKind::kLayout},
    {"hybrid_layer_pattern", FieldKind::kLayout},
    {"mamba_num_heads", FieldKind::kLayout},
    {"mamba_head_dim", FieldKind::kLayout},
    {"mamba_num_groups", FieldKind::kLayout},
    {"mamba_state_dim", FieldKind::kLayout},
    {"o_groups", FieldKind::kLayout},
    {"o_lora_rank", FieldKind::kLayout},
    {"csa_compress_ratios", FieldKind::kLayout},
    {"dsa_indexer_n_heads", FieldKind::kLayout},
    {"dsa_indexer_head_dim", FieldKind::kLayout},
    {"dsa_indexer_topk_freq", FieldKind::kLayout},
    {"dsa_indexer_skip_topk_offset", FieldKind::kLayout},
    {"dsa_indexer_rope_interleaved", FieldKind::kLayout},
    {"dsa_indexer_scoring_relu", FieldKind::kLayout},
    {"enable_hyper_connections", FieldKind::kLayout},
    {"num_residual_streams", FieldKind::kLayout},
    {"attention_output_gate", FieldKind::kLayout},
    {"qk_layernorm", FieldKind::kLayout},
    {"qk_l2_norm", FieldKind::kLayout},
    {"softmax_type", FieldKind::kLayout},
    {"add_bias_linear", FieldKind::kLayout},
    {"add_qkv_bias", FieldKind::kLayout},
    {"gated_linear_unit", FieldKind::kLayout},
    {"activation_func", FieldKind::kLayout},
    {"glu_linear_offset", FieldKind::kLayout},
    {"normalization", FieldKind::kLayout},
    {"layernorm_zero_centered_gamma", FieldKind::kLayout},
    {"apply_residual_connection_post_layernorm", FieldKind::kLayout},
    {"share_embeddings_and_output_weights", FieldKind::kLayout},
    {"rotary_interleaved", FieldKind::kLayout},
    {"rotary_percent", FieldKind::kLayout},
    {"no_rope_freq", FieldKind::kLayout},
    {"num_moe_experts", FieldKind::kLayout},
    {"moe_layer_freq", FieldKind::kLayout},
    {"moe_ffn_hidden_size", FieldKind::kLayout},
    {"moe_shared_expert_intermediate_size", FieldKind::kLayout},
    {"moe_shared_expert_gate", FieldKind::kLayout},
    {"moe_latent_size", FieldKind::kLayout},
    {"moe_apply_probs_on_input", FieldKind::kLayout},
    {"moe_router_enable_expert_bias", FieldKind::kLayout},
    {"moe_n_hash_layers", FieldKind::kLayout},

    {"rotary_base", FieldKind::kValue},
    {"position_embedding_type", FieldKind::kValue},
    {"rope_scaling", FieldKind::kValue},
    {"rope_scaling_factor", FieldKind::kValue},
    {"seq_len_interpolation_factor", FieldKind::kValue},
    {"yarn_rotary_scaling_factor", FieldKind::kValue},
    {"yarn_original_max_position_embeddings", FieldKind::kValue},
    {"yarn_beta_fast", FieldKind::kValue},
    {"yarn_beta_slow", FieldKind::kValue},
    {"yarn_mscale", FieldKind::kValue},
    {"yarn_mscale_all_dim", FieldKind::kValue},
    {"yarn_correction_range_round_to_int", FieldKind::kValue},
    {"rope_type", FieldKind::kValue},
    {"rotary_scaling_factor", FieldKind::kValue},
    {"original_max_position_embeddings", FieldKind::kValue},
    {"beta_fast", FieldKind::kValue},
    {"beta_slow", FieldKind::kValue},
    {"mscale", FieldKind::kValue},
    {"mscale_all_dim", FieldKind::kValue},
    {"csa_compress_rotary_base", FieldKind::kValue},
    {"csa_window_size", FieldKind::kValue},
    {"dsa_indexer_topk", FieldKind::kValue},
    {"mhc_sinkhorn_iterations", FieldKind::kValue},
    {"window_size", FieldKind::kValue},
    {"window_attn_skip_freq", FieldKind::kValue},
    {"softmax_scale", FieldKind::kValue},
    {"query_pre_attn_scalar", FieldKind::kValue},
    {"interleaved_attn_pattern", FieldKind::kLayout},
    {"attn_logit_softcapping", FieldKind::kValue},
    {"final_logit_softcapping", FieldKind::kValue},
    {"layernorm_epsilon", FieldKind::kValue},
    {"activation_func_clamp_value", FieldKind::kValue},
    {"moe_router_topk", FieldKind::kValue},
    {"moe_router_score_function", FieldKind::kValue},
    {"moe_router_pre_softmax", FieldKind::kValue},
    {"moe_router_topk_scaling_factor", FieldKind::kValue},
    {"moe_router_num_groups", FieldKind::kValue},
    {"moe_router_group_topk", FieldKind::kValue},
    {"moe_aux_loss_coeff", FieldKind::kValue},
    {"seq_length", FieldKind::kValue},

    {"attention_dropout", FieldKind::kListed},
    {"hidden_dropout", FieldKind::kListed},
};

// Ignores rounding: a table may compute a field (the mscale of YaRN from attention_factor).
bool same(const Json& a, const Json& b) {
  constexpr double kRounding = 1e-12;
  if (!a.is_number_float() || !b.is_number_float()) return a == b;
  const double x = a.get<double>();
  const double y = b.get<double>();
  return x == y || std::fabs(x - y) <= kRounding * std::max(std::fabs(x), std::fabs(y));
}

}  // namespace

std::vector<FieldDifference> compare_statements(const Json& checkpoint, const Json& config) {
  std::vector<FieldDifference> differences;
  for (const Field& field : kFields) {
    const Json::const_iterator said = checkpoint.find(field.name);
    if (said == checkpoint.end()) continue;
    const Json::const_iterator means = config.find(field.name);
    const Json meant = means == config.end() ? Json() : *means;
    if (same(*said, meant)) continue;
    if (field.name == "seq_length" && meant.is_number() && *said < meant) continue;
    differences.push_back({std::string(field.name), field.kind, *said, meant});
  }
  return differences;
}

std::vector<FieldDifference> contradictions(const Json& one, const Json& other) {
  std::vector<FieldDifference> differences;
  for (const Field& field : kFields) {
    const Json::const_iterator a = one.find(field.name);
    const Json::const_iterator b = other.find(field.name);
    if (field.kind != FieldKind::kLayout || a == one.end() || b == other.end() || *a == *b) {
      continue;
    }
    differences.push_back({std::string(field.name), field.kind, *a, *b});
  }
  return differences;
}

std::string field_text(const Json& value) {
  return bridge::printable(value.is_string()
                               ? value.get_ref<const std::string&>()
                               : value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace mappings
