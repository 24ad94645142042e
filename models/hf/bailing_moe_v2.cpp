// Ling 2.0 and Ring 2.0: grouped attention with norms of queries and keys, which are row ranges of
// one tensor with the values, and positions that turn the first channels of each head; experts and
// multi-token prediction depths as DeepSeek-V3 has them, without copies.
// Truth: the release's own configuration_bailing_moe_v2.py and modeling_bailing_moe_v2.py.
#include "bridge/io/base/checked.h"
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"bailing_moe_v2"};
constexpr std::string_view kClasses[] = {"BailingMoeV2ForCausalLM"};

// The others are DeepSeek's.
constexpr HfName kNames[] = {
    {Role::kQ, "attention.query_key_value.weight"},
    {Role::kK, "attention.query_key_value.weight"},
    {Role::kV, "attention.query_key_value.weight"},
    {Role::kQBias, "attention.query_key_value.bias"},
    {Role::kKBias, "attention.query_key_value.bias"},
    {Role::kVBias, "attention.query_key_value.bias"},
    {Role::kO, "attention.dense.weight"},
    {Role::kQNorm, "attention.query_layernorm.weight"},
    {Role::kKNorm, "attention.key_layernorm.weight"},
    {Role::kRouterBias, "mlp.gate.expert_bias"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "final_layernorm.weight"},
};

GroupedAttention attention_of(const Settings& config) {
  if (config.flag_or("use_bias", false)) {
    config.not_supported("use_bias", "an output with a bias is not computed here");
  }
  if (!config.flag_or("use_qk_norm", true)) {
    config.not_supported("use_qk_norm", "queries and keys without norms are not computed here");
  }
  GroupedAttention attention = hf_grouped_attention(config, {});
  attention.qkv_bias = config.flag_or("use_qkv_bias", false);
  attention.output_bias = false;
  attention.qk_norm = true;
  attention.rotary = hf_partial_rotary(config, attention.head_dim, 1, {.positions = 16384});
  return attention;
}

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp = hf_biased_experts(
      config, {.chosen = 2, .width = 0, .groups = 8, .chosen_groups = 4, .factor = 2.5});
  mlp.router.experts = config.integer_or("num_experts", 16);
  mlp.router.normalized = mlp.router.chosen > 1;
  mlp.shared_width = bridge::checked_mul(config.integer_or("num_shared_experts", 0), mlp.width,
                                         "size of the shared experts");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_is_after_dense(config, layer, 0)) return {attention_of(config), experts_of(config)};
  return {attention_of(config), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-5, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config), experts_of(config)}, model);
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  if (id.role == Role::kEmbedding) return {{model.prefix + "word_embeddings.weight"}};
  if (hf_name(kNames, id.role).empty()) return hf_deepseek_places(model, id);
  std::vector<HfPlace> places = hf_decoder_places(model, id, kNames);
  if (id.section == Section::kLayer || id.section == Section::kMtp) {
    places.at(0).rows = part_of_qkv(std::get<GroupedAttention>(model.layer(id).attention), id.role);
  }
  return places;
}

}  // namespace

constexpr HfArchitecture architectures::kBailingMoeV2 = {.model_types = kModelTypes,
                                                         .classes = kClasses,
                                                         .config = config_of,
                                                         .places = places_of,
                                                         .depths = {hf_further_layers}};

}  // namespace models
