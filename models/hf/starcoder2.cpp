// StarCoder2: LayerNorm, GELU with tanh without a gate, biases of all linear layers where use_bias
// says so, one window for all layers where config.json sets it.
// Truth: transformers' configuration_starcoder2.py, modeling_starcoder2.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"starcoder2"};
constexpr std::string_view kClasses[] = {"Starcoder2ForCausalLM", "Starcoder2Model"};

constexpr HfName kNames[] = {
    {Role::kUp, "mlp.c_fc.weight"},
    {Role::kUpBias, "mlp.c_fc.bias"},
    {Role::kDown, "mlp.c_proj.weight"},
    {Role::kDownBias, "mlp.c_proj.bias"},
};

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 2});
  const bool biased = config.flag_or("use_bias", true);
  attention.qkv_bias = attention.output_bias = biased;
  attention.window = config.integer_or("sliding_window", 0);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 4096});
  return {attention, DenseMlp{config.integer("intermediate_size"), biased, Activation::kGeluTanh,
                              /*gated=*/false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  hf_check_activation(config, "hidden_act", "gelu_pytorch_tanh");
  const NormConfig norm{NormKind::kLayer, config.real_or("norm_epsilon", 1e-5)};
  return hf_decoder_config(config, norm, /*tied=*/true, layer_of);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kStarcoder2 = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
