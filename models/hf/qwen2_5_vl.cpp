// Qwen2.5-VL: Qwen2's text model with rotary encodings by sections in blocks. No release has a
// window.
// Truth: transformers' configuration_qwen2_5_vl.py, modeling_qwen2_5_vl.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/qwen_vl.h"
#include "models/hf/vision.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen2_5_vl", "qwen2_5_vl_text"};
constexpr std::string_view kClasses[] = {"Qwen2_5_VLForConditionalGeneration"};

LayerConfig layer_of(const Settings& text, int64_t /*layer*/) {
  if (text.flag_or("use_sliding_window", false)) {
    text.not_supported("use_sliding_window", "not computed here");
  }
  GroupedAttention attention = hf_grouped_attention(text, {.kv_heads = 8});
  attention.qkv_bias = true;
  attention.output_bias = false;
  attention.rotary = qwen_vl_rotary(text, attention.head_dim, 1e6);
  return {attention, DenseMlp{text.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  ModelConfig model = qwen_vl_config(config, 1e-5, layer_of);
  model.vision = hf_gated_vision_tower(config);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kQwen2_5Vl = {.model_types = kModelTypes,
                                                      .classes = kClasses,
                                                      .config = config_of,
                                                      .places = hf_plain_places};

}  // namespace models
