// GLM-4-0414 and GLM-Z1, dense: the results of attention and of the feed-forward part are normed
// too, half of each head turns, in pairs of neighbouring channels; gate and up are one tensor.
// Queries, keys and values have biases where attention_bias says so, the output never has.
// Truth: transformers' configuration_glm4.py, modeling_glm4.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"glm4"};
constexpr std::string_view kClasses[] = {"Glm4ForCausalLM", "Glm4Model"};

constexpr HfName kNames[] = {
    {Role::kAttentionPostNorm, "post_self_attn_layernorm.weight"},
    {Role::kMlpPostNorm, "post_mlp_layernorm.weight"},
    {Role::kGate, "mlp.gate_up_proj.weight"},
    {Role::kUp, "mlp.gate_up_proj.weight"},
};

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 2, .head_dim = 128});
  attention.qkv_bias = config.flag_or("attention_bias", true);
  attention.output_bias = false;
  attention.rotary = hf_partial_rotary(config, attention.head_dim, 0.5, {.positions = 131072});
  attention.rotary.layout = RotaryLayout::kPairs;
  return {attention, DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  ModelConfig model = hf_decoder_config(config, 1.5625e-7, layer_of);
  model.post_norms = true;
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  std::vector<HfPlace> places = hf_decoder_places(model, id, kNames);
  if (id.role == Role::kGate || id.role == Role::kUp) {
    const int64_t width = std::get<DenseMlp>(model.layer(id).mlp).width;
    for (HfPlace& place : places) place.rows = gate_or_up(width, id.role == Role::kUp);
  }
  return places;
}

}  // namespace

constexpr HfArchitecture architectures::kGlm4 = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
