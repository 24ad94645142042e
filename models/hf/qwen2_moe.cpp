// Qwen2 and Qwen1.5 with experts: queries, keys and values have biases unless qkv_bias says
// otherwise; a softmax router, and beside it a shared expert whose result one sigmoid a token
// scales. Single layers may be dense.
// Truth: transformers' configuration_qwen2_moe.py, modeling_qwen2_moe.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/qwen.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen2_moe"};
constexpr std::string_view kClasses[] = {"Qwen2MoeForCausalLM", "Qwen2MoeModel"};

constexpr HfName kNames[] = {
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
    {Role::kSharedGate, "mlp.shared_expert.gate_proj.weight"},
    {Role::kSharedUp, "mlp.shared_expert.up_proj.weight"},
    {Role::kSharedDown, "mlp.shared_expert.down_proj.weight"},
    {Role::kSharedWeight, "mlp.shared_expert_gate.weight"},
};

// Where layer_types is absent, every other of the first layers has the window.
int64_t window_of(const Settings& config, int64_t layer) {
  if (!config.texts("layer_types").empty()) return qwen_window_of(config, layer);
  const bool slides = layer % 2 == 0 && layer < config.integer_or("max_window_layers", 28);
  return slides ? qwen_window(config) : 0;
}

MlpConfig mlp_of(const Settings& config, int64_t layer) {
  if (!qwen_has_experts(config, layer)) {
    return DenseMlp{config.integer("intermediate_size"), false};
  }
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSoftmax;
  mlp.router.experts = hf_expert_count(config, "num_experts", 60);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 4);
  mlp.router.normalized = config.flag_or("norm_topk_prob", false);
  mlp.width = config.integer_or("moe_intermediate_size", 1408);
  mlp.shared_width = config.integer_or("shared_expert_intermediate_size", 5632);
  mlp.shared_gated = mlp.shared_width > 0;
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 16});
  attention.qkv_bias = config.flag_or("qkv_bias", true);
  attention.output_bias = false;
  attention.window = window_of(config, layer);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 32768});
  return {attention, mlp_of(config, layer)};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_trained_depth(config, drop_mtp, model);
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kQwen2Moe = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
