// Mistral: Llama without biases. Every layer has the same window: 4096 tokens if config.json does
// not mention sliding_window, none if it is null, as from v0.2 on. MistralModel makes one mask for
// all layers and does not read layer_types, which, as MistralConfig warns, belongs to Ministral. A
// list that contradicts sliding_window is refused, because it is unclear which of the two was
// trained.
// Truth: transformers' configuration_mistral.py, modeling_mistral.py.
#include <algorithm>
#include <string>

#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"mistral"};
constexpr std::string_view kClasses[] = {"MistralForCausalLM", "MistralModel",
                                         "MistralForSequenceClassification"};

int64_t window_of(const Settings& config) {
  const int64_t absent = config.mentions("sliding_window") ? 0 : 4096;
  const int64_t window = config.integer_or("sliding_window", absent);
  if (window < 1 && config.has("sliding_window")) config.refuse("sliding_window", "not positive");
  const std::vector<std::string> types = config.texts("layer_types");
  const std::string_view type = window > 0 ? "sliding_attention" : "full_attention";
  if (std::any_of(types.begin(), types.end(), [&](const auto& one) { return one != type; })) {
    config.not_supported("layer_types", "Mistral's layers are alike, as sliding_window says");
  }
  return window;
}

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8});
  attention.qkv_bias = attention.output_bias = false;
  attention.window = window_of(config);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 131072});
  return {attention, DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_trained_depth(config, drop_mtp, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kMistral = {.model_types = kModelTypes,
                                                    .classes = kClasses,
                                                    .config = config_of,
                                                    .places = hf_plain_places};

}  // namespace models
