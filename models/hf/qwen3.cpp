// Qwen3, dense: query and key heads are normed before the rotary embedding. Later layers may have a
// window.
// Truth: transformers' configuration_qwen3.py, modeling_qwen3.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/qwen.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen3"};
constexpr std::string_view kClasses[] = {"Qwen3ForCausalLM", "Qwen3Model",
                                         "Qwen3ForSequenceClassification"};

LayerConfig layer_of(const Settings& config, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 32, .head_dim = 128});
  attention.qk_norm = true;
  attention.window = qwen_window_of(config, layer);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 32768});
  return {attention, DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_trained_depth(config, drop_mtp, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kQwen3 = {.model_types = kModelTypes,
                                                  .classes = kClasses,
                                                  .config = config_of,
                                                  .places = hf_plain_places};

}  // namespace models
