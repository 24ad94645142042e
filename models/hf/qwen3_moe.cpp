// Qwen3 with experts: Qwen3's attention, with the window in every layer or in none; a softmax
// router without shared experts. Single layers may be dense.
// Truth: transformers' configuration_qwen3_moe.py, modeling_qwen3_moe.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/qwen.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_moe"};
constexpr std::string_view kClasses[] = {"Qwen3MoeForCausalLM", "Qwen3MoeModel"};

constexpr HfName kNames[] = {
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
};

MlpConfig mlp_of(const Settings& config, int64_t layer) {
  if (!qwen_has_experts(config, layer)) {
    return DenseMlp{config.integer("intermediate_size"), false};
  }
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSoftmax;
  mlp.router.experts = hf_expert_count(config, "num_experts", 128);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 8);
  mlp.router.normalized = config.flag_or("norm_topk_prob", false);
  mlp.width = config.integer_or("moe_intermediate_size", 768);
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 4});
  attention.qk_norm = true;
  attention.window = qwen_window(config);
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

constexpr HfArchitecture architectures::kQwen3Moe = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
