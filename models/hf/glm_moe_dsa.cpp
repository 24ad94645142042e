// GLM-5, 5.1 and 5.2: DeepSeek-V3.2 with an index whose channels turn in pairs. In 5.2 some layers
// share the index of one before them: indexer_types says which, or without it index_topk_freq and
// index_skip_topk_offset. transformers numbers multi-token prediction depths as layers from 0 on.
// Truth: transformers' configuration_glm_moe_dsa.py, modeling_glm_moe_dsa.py.
#include <algorithm>
#include <string>
#include <vector>

#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"
#include "models/hf/token_index.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"glm_moe_dsa"};
constexpr std::string_view kClasses[] = {"GlmMoeDsaForCausalLM", "GlmMoeDsaModel"};

bool shares_index(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("indexer_types");
  if (!types.empty()) {
    if (static_cast<size_t>(layer) >= types.size()) {
      config.refuse("indexer_types", "fewer than layers");
    }
    return types[static_cast<size_t>(layer)] == "shared";
  }
  if (config.has("index_topk_pattern")) {
    config.not_supported("index_topk_pattern", "indexer_types is what is read here");
  }
  const int64_t every = std::max<int64_t>(config.integer_or("index_topk_freq", 1), 1);
  const int64_t offset = config.integer_or("index_skip_topk_offset", 2);
  return std::max<int64_t>(layer - offset + 1, 0) % every != 0;
}

LatentAttention attention_of(const Settings& config, int64_t layer) {
  const LatentAttention plain = hf_latent_attention(
      config, {.q_rank = 2048, .nope_dim = 192, .v_dim = 256, .positions = 202752});
  LatentAttention attention = hf_with_index(config, plain, 32, RotaryLayout::kPairs);
  if (shares_index(config, layer)) {
    attention.index = {.chosen = attention.index.chosen, .shared = true};
  }
  return attention;
}

MixtureOfExperts experts_of(const Settings& config) {
  return hf_biased_experts(config, {.experts = 256, .width = 2048, .factor = 2.5});
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (hf_has_experts(config, layer)) return {attention_of(config, layer), experts_of(config)};
  return {attention_of(config, layer), DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-5, layer_of);
  hf_add_further_layers(config, drop_mtp, {attention_of(config, 0), experts_of(config)}, model);
  for (size_t depth = 1; depth < model.mtp.size(); ++depth) {
    model.mtp[depth].attention = attention_of(config, static_cast<int64_t>(depth));
  }
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kGlmMoeDsa = {.model_types = kModelTypes,
                                                      .classes = kClasses,
                                                      .config = config_of,
                                                      .places = hf_deepseek_places,
                                                      .depths = kHfFurtherLayers};

}  // namespace models
