// Hy3: grouped attention with norms of queries and keys; the first layers are dense, the others
// have a sigmoid router with a bias. Multi-token prediction depths are further layers; they have no
// copies. The names are those of the release or of transformers' modules.
// Truth: transformers' configuration_hy_v3.py, modeling_hy_v3.py, conversion_mapping.py.
#include "bridge/io/base/checked.h"
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"hy_v3"};
constexpr std::string_view kClasses[] = {"HYV3ForCausalLM", "HYV3Model"};

constexpr HfName kNames[] = {
    {Role::kRouter, "mlp.router.gate.weight"},
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kRouterBias, "mlp.expert_bias"},
    {Role::kRouterBias, "mlp.e_score_correction_bias"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
    {Role::kSharedGate, "mlp.shared_mlp.gate_proj.weight"},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj.weight"},
    {Role::kSharedUp, "mlp.shared_mlp.up_proj.weight"},
    {Role::kSharedUp, "mlp.shared_experts.up_proj.weight"},
    {Role::kSharedDown, "mlp.shared_mlp.down_proj.weight"},
    {Role::kSharedDown, "mlp.shared_experts.down_proj.weight"},
    {Role::kMtpEmbeddingNorm, "enorm.weight"},
    {Role::kMtpHiddenNorm, "hnorm.weight"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "final_layernorm.weight"},
};

GroupedAttention attention_of(const Settings& config) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8, .head_dim = 128});
  attention.qk_norm = true;
  attention.rotary =
      hf_whole_rotary(config, attention.head_dim, {.base = 11158840, .positions = 131072});
  return attention;
}

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSigmoid;
  mlp.router.experts = hf_expert_count(config, "num_experts", 192);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 8);
  mlp.router.selection_bias = mlp.router.normalized = true;
  mlp.router.factor = config.real_or("router_scaling_factor", 2.826);
  mlp.width = config.integer_or("moe_intermediate_size", 1536);
  mlp.shared_width = bridge::checked_mul(config.integer_or("num_shared_experts", 1), mlp.width,
                                         "size of the shared experts");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_is_sparse(config, layer, 1)) return {attention_of(config), experts_of(config)};
  return {attention_of(config), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  if (config.flag_or("mlp_bias", false)) {
    config.not_supported("mlp_bias", "experts with biases are not computed here");
  }
  ModelConfig model = hf_decoder_config(config, 1e-5, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config), experts_of(config)}, model);
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kHyV3 = {.model_types = kModelTypes,
                                                 .classes = kClasses,
                                                 .config = config_of,
                                                 .places = places_of,
                                                 .depths = {hf_further_layers}};

}  // namespace models
