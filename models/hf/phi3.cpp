// Phi-3 and Phi-4: Llama's layers without biases. Queries, keys and values are row ranges of one
// tensor, gates and the other factor those of another. Positions may turn a part of each head.
// LongRoPE, which this class also takes for "su" and "yarn", is refused.
// Truth: transformers' configuration_phi3.py, modeling_phi3.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"phi3"};
constexpr std::string_view kClasses[] = {"Phi3ForCausalLM", "Phi3Model"};

constexpr HfName kNames[] = {
    {Role::kQ, "self_attn.qkv_proj.weight"}, {Role::kK, "self_attn.qkv_proj.weight"},
    {Role::kV, "self_attn.qkv_proj.weight"}, {Role::kGate, "mlp.gate_up_proj.weight"},
    {Role::kUp, "mlp.gate_up_proj.weight"},
};

RotaryConfig rotary_of(const Settings& config, int64_t head_dim) {
  const std::optional<Settings> rope = hf_rope_section(config);
  if (hf_rope_type(rope) != "default") {
    rope->not_supported("rope_type", "LongRoPE, this class's other type, is not computed here");
  }
  const double top = config.real_or("partial_rotary_factor", 1);
  const double part = rope ? rope->real_or("partial_rotary_factor", top) : top;
  return hf_rotary_config(config, rope, part_of(head_dim, part), {.positions = 4096});
}

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {});
  attention.qkv_bias = attention.output_bias = false;
  attention.window = config.integer_or("sliding_window", 0);
  attention.rotary = rotary_of(config, attention.head_dim);
  return {attention, DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  return hf_decoder_config(config, 1e-5, layer_of);
}

RowPattern rows_of(const LayerConfig& layer, Role role) {
  if (role == Role::kGate || role == Role::kUp) {
    return gate_or_up(std::get<DenseMlp>(layer.mlp).width, role == Role::kUp);
  }
  return part_of_qkv(std::get<GroupedAttention>(layer.attention), role);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  std::vector<HfPlace> places = hf_decoder_places(model, id, kNames);
  if (id.section == Section::kLayer) places.at(0).rows = rows_of(model.layer(id), id.role);
  return places;
}

}  // namespace

constexpr HfArchitecture architectures::kPhi3 = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
