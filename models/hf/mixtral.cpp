// Mixtral: Llama's attention without biases, with a window if config.json has one. Every layer has
// experts; the weights of the chosen ones are always normalized.
// Truth: transformers' configuration_mixtral.py, modeling_mixtral.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"mixtral"};
constexpr std::string_view kClasses[] = {"MixtralForCausalLM", "MixtralModel"};

constexpr HfName kNames[] = {
    {Role::kRouter, "block_sparse_moe.gate.weight"},
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kExpertGate, "block_sparse_moe.experts.{}.w1.weight"},
    {Role::kExpertUp, "block_sparse_moe.experts.{}.w3.weight"},
    {Role::kExpertDown, "block_sparse_moe.experts.{}.w2.weight"},
};

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSoftmax;
  mlp.router.experts = hf_expert_count(config, "num_experts", 8);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 2);
  mlp.router.normalized = true;
  mlp.width = config.integer("intermediate_size");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8});
  attention.qkv_bias = attention.output_bias = false;
  attention.window = config.integer_or("sliding_window", 0);
  attention.rotary =
      hf_whole_rotary(config, attention.head_dim, {.base = 1000000, .positions = 131072});
  return {attention, experts_of(config)};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-5, layer_of);
  hf_add_trained_depth(config, drop_mtp, model);
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kMixtral = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
