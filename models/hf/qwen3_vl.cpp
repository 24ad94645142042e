// Qwen3-VL, dense: Qwen3's text model without a window, with interleaved rotary encodings by
// sections.
// Truth: transformers' configuration_qwen3_vl.py, modeling_qwen3_vl.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/qwen_vl.h"
#include "models/hf/vision.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_vl", "qwen3_vl_text"};
constexpr std::string_view kClasses[] = {"Qwen3VLForConditionalGeneration", "Qwen3VLModel"};

LayerConfig layer_of(const Settings& text, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(text, {.kv_heads = 32, .head_dim = 128});
  attention.qk_norm = true;
  attention.rotary = qwen_vl_rotary(text, attention.head_dim, 5e5);
  return {attention, DenseMlp{text.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  ModelConfig model = qwen_vl_config(config, 1e-6, layer_of);
  model.vision = hf_deepstack_vision_tower(config);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kQwen3Vl = {.model_types = kModelTypes,
                                                    .classes = kClasses,
                                                    .config = config_of,
                                                    .places = hf_plain_places};

}  // namespace models
