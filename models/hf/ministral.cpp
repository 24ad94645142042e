// Ministral: Mistral whose layers have the window or none, as layer_types says; without it they are
// alike. sliding_window is 4096 tokens if config.json does not mention it, none if it is null.
// Truth: transformers' configuration_ministral.py, modeling_ministral.py.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"ministral"};
constexpr std::string_view kClasses[] = {"MinistralForCausalLM", "MinistralModel"};

int64_t window_of(const Settings& config, int64_t layer) {
  const int64_t absent = config.mentions("sliding_window") ? 0 : 4096;
  const int64_t window = config.integer_or("sliding_window", absent);
  if (window < 1 && config.has("sliding_window")) config.refuse("sliding_window", "not positive");
  const std::vector<std::string> types = config.texts("layer_types");
  if (types.empty()) return window;
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse("layer_types", fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  const std::string& type = types[static_cast<size_t>(layer)];
  if (type == "full_attention") return 0;
  if (type != "sliding_attention") {
    config.not_supported("layer_types",
                         fmt::format("'{}' is not computed here", bridge::printable(type)));
  }
  if (window == 0) config.refuse("layer_types", "some slide, but there is no window");
  return window;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8});
  attention.qkv_bias = attention.output_bias = false;
  attention.window = window_of(config, layer);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 131072});
  return {attention, DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  return hf_decoder_config(config, 1e-6, layer_of);
}

}  // namespace

constexpr HfArchitecture architectures::kMinistral = {.model_types = kModelTypes,
                                                      .classes = kClasses,
                                                      .config = config_of,
                                                      .places = hf_plain_places};

}  // namespace models
