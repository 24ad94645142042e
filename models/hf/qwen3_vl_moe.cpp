// Qwen3-VL with experts: Qwen3-VL's attention and Qwen3-MoE's experts, whose weights of a token
// always sum to one. Releases store the experts' matrices [in, out], transformers 5 [out, in].
// Truth: transformers' configuration_qwen3_vl_moe.py, modeling_qwen3_vl_moe.py,
// conversion_mapping.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/qwen.h"
#include "models/hf/qwen_vl.h"
#include "models/hf/vision.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_vl_moe", "qwen3_vl_moe_text"};
constexpr std::string_view kClasses[] = {"Qwen3VLMoeForConditionalGeneration", "Qwen3VLMoeModel"};

constexpr HfName kNames[] = {
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
};

MlpConfig mlp_of(const Settings& text, int64_t layer) {
  if (!qwen_has_experts(text, layer)) return DenseMlp{text.integer("intermediate_size"), false};
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSoftmax;
  mlp.router.experts = hf_expert_count(text, "num_experts", 60);
  mlp.router.chosen = text.integer_or("num_experts_per_tok", 4);
  mlp.router.normalized = true;
  mlp.width = text.integer_or("moe_intermediate_size", 1408);
  return mlp;
}

LayerConfig layer_of(const Settings& text, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(text, {.kv_heads = 16});
  attention.qk_norm = true;
  attention.rotary = qwen_vl_rotary(text, attention.head_dim, 5e5);
  return {attention, mlp_of(text, layer)};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  ModelConfig model = qwen_vl_config(config, 1e-6, layer_of);
  model.vision = hf_deepstack_vision_tower(config);
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kQwen3VlMoe = {.model_types = kModelTypes,
                                                       .classes = kClasses,
                                                       .config = config_of,
                                                       .places = places_of,
                                                       .turns_experts = true};

}  // namespace models
