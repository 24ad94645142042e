// DeepSeek-V3.2: DeepSeek-V3 with an index in every layer, whose channels turn in halves although
// those of the attention turn in pairs.
// Truth: transformers' configuration_deepseek_v32.py, modeling_deepseek_v32.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"
#include "models/hf/token_index.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v32"};
constexpr std::string_view kClasses[] = {"DeepseekV32ForCausalLM", "DeepseekV32Model"};

LatentAttention attention_of(const Settings& config) {
  return hf_with_index(config, hf_latent_attention(config, {.q_rank = 1536, .positions = 163840}),
                       64, RotaryLayout::kHalves);
}

MixtureOfExperts experts_of(const Settings& config) {
  return hf_biased_experts(
      config, {.experts = 256, .width = 2048, .groups = 8, .chosen_groups = 4, .factor = 2.5});
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_has_experts(config, layer)) return {attention_of(config), experts_of(config)};
  return {attention_of(config), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config), experts_of(config)}, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kDeepseekV32 = {.model_types = kModelTypes,
                                                        .classes = kClasses,
                                                        .config = config_of,
                                                        .places = hf_deepseek_places,
                                                        .depths = kHfFurtherLayers};

}  // namespace models
