// GLM-4.5, 4.6 and 4.7: grouped attention that turns the first channels of each head, with biases
// (never of the output) and norms of queries and keys if config.json says so; experts and
// multi-token prediction depths as DeepSeek-V3 has them.
// Truth: transformers' configuration_glm4_moe.py, modeling_glm4_moe.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"glm4_moe"};
constexpr std::string_view kClasses[] = {"Glm4MoeForCausalLM", "Glm4MoeModel"};

GroupedAttention attention_of(const Settings& config) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8});
  attention.output_bias = false;
  attention.qk_norm = config.flag_or("use_qk_norm", false);
  attention.rotary = hf_partial_rotary(config, attention.head_dim, 0.5, {.positions = 131072});
  return attention;
}

MixtureOfExperts experts_of(const Settings& config) {
  return hf_biased_experts(config, {.experts = 128, .width = 1408});
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_is_after_dense(config, layer, 1)) return {attention_of(config), experts_of(config)};
  return {attention_of(config), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-5, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config), experts_of(config)}, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kGlm4Moe = {.model_types = kModelTypes,
                                                    .classes = kClasses,
                                                    .config = config_of,
                                                    .places = hf_deepseek_places,
                                                    .depths = kHfFurtherLayers};

}  // namespace models
