// GLM-4.7-Flash: DeepSeek-V3's layers with one group of experts; a list may say which are dense.
// Truth: transformers' configuration_glm4_moe_lite.py, modeling_glm4_moe_lite.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"glm4_moe_lite"};
constexpr std::string_view kClasses[] = {"Glm4MoeLiteForCausalLM", "Glm4MoeLiteModel"};

LatentAttention attention_of(const Settings& config) {
  return hf_latent_attention(config,
                             {.q_rank = 768, .nope_dim = 192, .v_dim = 256, .positions = 202752});
}

MixtureOfExperts experts_of(const Settings& config) {
  return hf_biased_experts(config, {.experts = 64, .chosen = 4, .width = 1536, .factor = 1.8});
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_is_sparse(config, layer, 1)) return {attention_of(config), experts_of(config)};
  return {attention_of(config), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-5, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config), experts_of(config)}, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kGlm4MoeLite = {.model_types = kModelTypes,
                                                        .classes = kClasses,
                                                        .config = config_of,
                                                        .places = hf_deepseek_places,
                                                        .depths = kHfFurtherLayers};

}  // namespace models
