// OLMoE: Llama's attention with a norm over the queries of all heads together and one over the
// keys; every layer has experts, chosen by a softmax router.
// Truth: transformers' configuration_olmoe.py, modeling_olmoe.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"olmoe"};
constexpr std::string_view kClasses[] = {"OlmoeForCausalLM", "OlmoeModel"};

constexpr HfName kNames[] = {
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
};

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSoftmax;
  mlp.router.experts = hf_expert_count(config, "num_experts", 64);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 8);
  mlp.router.normalized = config.flag_or("norm_topk_prob", false);
  mlp.width = config.integer("intermediate_size");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  if (config.has("clip_qkv")) config.not_supported("clip_qkv", "not computed here");
  GroupedAttention attention = hf_grouped_attention(config, {});
  attention.qk_norm = attention.whole_qk_norm = true;
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 4096});
  return {attention, experts_of(config)};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  return hf_decoder_config(config, 1e-5, layer_of);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kOlmoe = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
