// gpt-oss: attention with sinks, biases and a window in every other layer; experts whose matrices
// are stored [in, out] all in one tensor, gates and the other factor in turns, or in MXFP4 as
// [out, in]; a clamped GLU of a quick GELU.
// Truth: transformers' configuration_gpt_oss.py, modeling_gpt_oss.py, integrations/mxfp4.py.
#include <fmt/format.h>

#include <string>

#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"gpt_oss"};
constexpr std::string_view kClasses[] = {"GptOssForCausalLM", "GptOssModel"};

constexpr HfName kNames[] = {
    {Role::kSink, "self_attn.sinks"},
    {Role::kRouter, "mlp.router.weight"},
    {Role::kRouterLogitBias, "mlp.router.bias"},
};

int64_t window_of(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("layer_types");
  std::string type = layer % 2 == 0 ? "sliding_attention" : "full_attention";
  if (!types.empty()) {
    if (static_cast<size_t>(layer) >= types.size()) {
      config.refuse("layer_types",
                    fmt::format("{} of them, none for layer {}", types.size(), layer));
    }
    type = types[static_cast<size_t>(layer)];
  }
  if (type == "full_attention") return 0;
  if (type != "sliding_attention") {
    config.not_supported("layer_types",
                         fmt::format("'{}' is not computed here", bridge::printable(type)));
  }
  const int64_t window =
      config.integer_or("sliding_window", config.mentions("sliding_window") ? 0 : 128);
  if (window < 1) config.refuse("sliding_window", "no window, but a layer slides");
  return window;
}

// The class's positions where config.json does not speak of any.
RotaryConfig rotary_of(const Settings& config, int64_t head_dim) {
  const std::optional<Settings> rope = hf_rope_section(config);
  RotaryConfig rotary = hf_rotary_config(config, rope, head_dim, {.base = 150000});
  if (rope) return rotary;
  rotary.scaling = RotaryScaling::kYarn;
  rotary.factor = 32;
  rotary.original_positions = 4096;
  rotary.beta_fast = 32;
  rotary.beta_slow = 1;
  rotary.round_range = false;
  rotary.magnitude = hf_yarn_magnitude(rotary.factor, 1);
  return rotary;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8, .head_dim = 64});
  attention.qkv_bias = attention.output_bias = config.flag_or("attention_bias", true);
  attention.sinks = true;
  attention.window = window_of(config, layer);
  attention.rotary = rotary_of(config, attention.head_dim);
  MixtureOfExperts mlp;
  mlp.router.experts = hf_expert_count(config, "num_experts", 128);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 4);
  mlp.router.normalized = true;
  mlp.router.logit_bias = true;
  mlp.width = config.integer("intermediate_size");
  mlp.bias = true;
  mlp.limit = config.real_or("swiglu_limit", 7);
  mlp.gain = config.real_or("swiglu_alpha", 1.702);
  mlp.offset = 1;
  return {attention, mlp};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  return hf_decoder_config(config, 1e-5, layer_of);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  if (id.expert < 0) return hf_decoder_places(model, id, kNames);
  const std::string experts = fmt::format("{}layers.{}.mlp.experts.", model.prefix, id.index);
  const int64_t width = std::get<MixtureOfExperts>(model.layer(id).mlp).width;
  const auto turns = [&](bool up) { return RowPattern{width, up ? 1 : 0, 1, 2, 2 * width}; };
  // The matrix as the model has it, or in MXFP4.
  const auto matrix = [&](std::string_view name, const RowPattern& rows) -> std::vector<HfPlace> {
    HfPlace plain{.name = fmt::format("{}{}", experts, name), .expert_axis = true, .rows = rows};
    HfPlace blocks = plain;
    plain.transposed = true;
    blocks.name += "_blocks";
    return {plain, blocks};
  };
  switch (id.role) {
    case Role::kExpertGate:
    case Role::kExpertUp:
      return matrix("gate_up_proj", turns(id.role == Role::kExpertUp));
    case Role::kExpertGateBias:
    case Role::kExpertUpBias:
      return {{experts + "gate_up_proj_bias", true, turns(id.role == Role::kExpertUpBias)}};
    case Role::kExpertDown:
      return matrix("down_proj", {});
    case Role::kExpertDownBias:
      return {{experts + "down_proj_bias", true}};
    default:
      no_hf_name(id);
  }
}

}  // namespace

constexpr HfArchitecture architectures::kGptOss = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
