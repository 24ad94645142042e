// DeepSeek-V3 and R1: latent attention; the first layers are dense, the others have a sigmoid
// router over groups of experts. Multi-token prediction depths are further layers.
// Truth: transformers' configuration_deepseek_v3.py, modeling_deepseek_v3.py; the released index.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v3"};
constexpr std::string_view kClasses[] = {"DeepseekV3ForCausalLM", "DeepseekV3Model"};

LatentAttention attention_of(const Settings& config) {
  return hf_latent_attention(config, {.q_rank = 1536, .positions = 4096});
}

MixtureOfExperts experts_of(const Settings& config) {
  if (config.text_or("scoring_func", "sigmoid") != "sigmoid") {
    config.not_supported("scoring_func", "sigmoid is the one that is computed here");
  }
  if (config.text_or("topk_method", "noaux_tc") != "noaux_tc") {
    config.not_supported("topk_method", "noaux_tc is the one that is computed here");
  }
  return hf_biased_experts(
      config, {.experts = 256, .width = 2048, .groups = 8, .chosen_groups = 4, .factor = 2.5});
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_is_after_dense(config, layer, 3)) return {attention_of(config), experts_of(config)};
  return {attention_of(config), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config), experts_of(config)}, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kDeepseekV3 = {.model_types = kModelTypes,
                                                       .classes = kClasses,
                                                       .config = config_of,
                                                       .places = hf_deepseek_places,
                                                       .depths = kHfFurtherLayers};

}  // namespace models
