#include "models/hf/deepseek.h"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "models/hf/config.h"
#include "models/hf/decoder.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

// DeepseekV3RMSNorm's own default.
constexpr double kLatentEps = 1e-6;

constexpr HfName kNames[] = {
    {Role::kQDown, "self_attn.q_a_proj.weight"},
    {Role::kQDownNorm, "self_attn.q_a_layernorm.weight"},
    {Role::kQUp, "self_attn.q_b_proj.weight"},
    {Role::kKvDown, "self_attn.kv_a_proj_with_mqa.weight"},
    {Role::kKvDownNorm, "self_attn.kv_a_layernorm.weight"},
    {Role::kKvUp, "self_attn.kv_b_proj.weight"},
    {Role::kIndexQ, "self_attn.indexer.wq_b.weight"},
    {Role::kIndexKey, "self_attn.indexer.wk.weight"},
    {Role::kIndexKeyNorm, "self_attn.indexer.k_norm.weight"},
    {Role::kIndexKeyNormBias, "self_attn.indexer.k_norm.bias"},
    {Role::kIndexWeights, "self_attn.indexer.weights_proj.weight"},
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kRouterBias, "mlp.gate.e_score_correction_bias"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj.weight"},
    {Role::kSharedUp, "mlp.shared_experts.up_proj.weight"},
    {Role::kSharedDown, "mlp.shared_experts.down_proj.weight"},
    {Role::kMtpEmbeddingNorm, "enorm.weight"},
    {Role::kMtpHiddenNorm, "hnorm.weight"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "shared_head.norm.weight"},
};

RouterConfig biased_router(const Settings& config, const HfExpertDefaults& defaults) {
  RouterConfig router;
  router.score = RouterScore::kSigmoid;
  router.experts = hf_expert_count(config, "n_routed_experts", defaults.experts);
  router.chosen = config.integer_or("num_experts_per_tok", defaults.chosen);
  const int64_t groups = config.integer_or("n_group", defaults.groups);
  const int64_t chosen_groups = config.integer_or("topk_group", defaults.chosen_groups);
  if (chosen_groups < groups) {  // otherwise every group is chosen
    router.groups = groups;
    router.chosen_groups = chosen_groups;
    router.ranked_by = 2;
  }
  router.selection_bias = true;
  router.normalized = config.flag_or("norm_topk_prob", !config.mentions("norm_topk_prob"));
  router.factor = config.real_or("routed_scaling_factor", defaults.factor);
  return router;
}

}  // namespace

LatentAttention hf_latent_attention(const Settings& config, const HfLatentDefaults& defaults) {
  LatentAttention attention;
  if (config.flag_or("attention_bias", false)) {
    config.not_supported("attention_bias", "latent attention with biases is not computed here");
  }
  attention.heads = config.integer("num_attention_heads");
  attention.q_rank =
      config.integer_or("q_lora_rank", config.mentions("q_lora_rank") ? 0 : defaults.q_rank);
  attention.kv_rank = config.integer_or("kv_lora_rank", defaults.kv_rank);
  attention.nope_dim = config.integer_or("qk_nope_head_dim", defaults.nope_dim);
  attention.rope_dim = config.integer_or("qk_rope_head_dim", defaults.rope_dim);
  attention.v_dim = config.integer_or("v_head_dim", defaults.v_dim);
  attention.latent_eps = kLatentEps;
  attention.rotary = hf_whole_rotary(config, attention.rope_dim, {.positions = defaults.positions});
  attention.rotary.layout =
      config.flag_or("rope_interleave", true) ? RotaryLayout::kPairs : RotaryLayout::kHalves;
  const std::optional<Settings> rope = hf_rope_section(config);
  if (hf_rope_type(rope) != "default") {
    const double mscale_all_dim = rope->real_or("mscale_all_dim", 0);
    if (mscale_all_dim != 0) {
      const double mscale = hf_yarn_magnitude(attention.rotary.factor, mscale_all_dim);
      attention.softmax_factor = mscale * mscale;
    }
  }
  return attention;
}

MixtureOfExperts hf_biased_experts(const Settings& config, const HfExpertDefaults& defaults) {
  MixtureOfExperts mlp;
  mlp.router = biased_router(config, defaults);
  mlp.width = config.integer_or("moe_intermediate_size", defaults.width);
  mlp.shared_width = bridge::checked_mul(config.integer_or("n_shared_experts", 1), mlp.width,
                                         "size of the shared experts");
  return mlp;
}

bool hf_is_after_dense(const Settings& config, int64_t layer, int64_t absent) {
  return layer >= config.integer_or("first_k_dense_replace", absent);
}

bool hf_is_sparse(const Settings& config, int64_t layer, int64_t absent) {
  constexpr std::string_view kName = "mlp_layer_types";
  const std::vector<std::string> types = config.texts(kName);
  if (types.empty()) return hf_is_after_dense(config, layer, absent);
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse(kName, fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  const std::string& type = types[static_cast<size_t>(layer)];
  if (type != "dense" && type != "sparse") {
    config.not_supported(kName, fmt::format("'{}' is not computed here", bridge::printable(type)));
  }
  return type == "sparse";
}

void hf_add_further_layers(const Settings& config, bool drop_mtp, const LayerConfig& depth,
                           ModelConfig& model) {
  if (drop_mtp) return;
  const int64_t depths = hf_layer_count(config, "num_nextn_predict_layers", 0);
  model.mtp.assign(static_cast<size_t>(depths), depth);
}

std::vector<HfPlace> hf_deepseek_places(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

std::vector<HfDepthStart> hf_further_layers(const HfModel& model) {
  return {{model.prefix + "layers.", model.config.layers.size()}};
}

}  // namespace models
