// MiniMax-M2: a norm over the queries of all heads together and one over the keys, rotation of the
// first part of each head; every layer has experts under Mixtral's names, chosen by a sigmoid
// router with a bias that affects only the choice. The multi-token prediction that config.json of a
// release counts (num_mtp_modules) is in no release.
// Truth: transformers' configuration_minimax_m2.py, modeling_minimax_m2.py; the released
// config.json.
#include <optional>

#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"minimax_m2"};
constexpr std::string_view kClasses[] = {"MiniMaxM2ForCausalLM", "MiniMaxM2Model"};

constexpr HfName kNames[] = {
    {Role::kRouter, "block_sparse_moe.gate.weight"},
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kRouterBias, "block_sparse_moe.e_score_correction_bias"},
    {Role::kRouterBias, "mlp.e_score_correction_bias"},
    {Role::kExpertGate, "block_sparse_moe.experts.{}.w1.weight"},
    {Role::kExpertUp, "block_sparse_moe.experts.{}.w3.weight"},
    {Role::kExpertDown, "block_sparse_moe.experts.{}.w2.weight"},
};

// The factor in the section of rotary settings counts before that beside it, both before
// rotary_dim.
int64_t rotated_channels(const Settings& config, const std::optional<Settings>& rope,
                         int64_t head_dim) {
  constexpr std::string_view kPart = "partial_rotary_factor";
  if (rope && rope->has(kPart)) return part_of(head_dim, rope->real(kPart));
  if (config.has(kPart)) return part_of(head_dim, config.real(kPart));
  return config.integer_or("rotary_dim", head_dim);
}

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSigmoid;
  mlp.router.experts = hf_expert_count(config, "num_experts", 256);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 8);
  mlp.router.selection_bias = mlp.router.normalized = true;
  mlp.width = config.integer("intermediate_size");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8, .head_dim = 128});
  attention.qkv_bias = attention.output_bias = false;
  attention.qk_norm = attention.whole_qk_norm = true;
  const std::optional<Settings> rope = hf_rope_section(config);
  attention.rotary =
      hf_rotary_config(config, rope, rotated_channels(config, rope, attention.head_dim),
                       {.base = 5000000, .positions = 196608});
  return {attention, experts_of(config)};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  return hf_decoder_config(config, 1e-6, layer_of);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kMiniMaxM2 = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
