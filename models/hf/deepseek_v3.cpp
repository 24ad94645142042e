// DeepSeek-V3 and R1: latent attention; the first layers are dense, the others have a sigmoid
// router over groups of experts. Released checkpoints keep multi-token prediction depths as further
// layers, each with copies of the embedding and of the output layer.
// Truth: transformers' configuration_deepseek_v3.py, modeling_deepseek_v3.py; the released index.
#include <optional>

#include "bridge/io/base/checked.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/decoder.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v3"};
constexpr std::string_view kClasses[] = {"DeepseekV3ForCausalLM", "DeepseekV3Model"};
// DeepseekV3RMSNorm's own default, whatever rms_norm_eps says.
constexpr double kLatentEps = 1e-6;

constexpr HfName kNames[] = {
    {Role::kQDown, "self_attn.q_a_proj.weight"},
    {Role::kQDownNorm, "self_attn.q_a_layernorm.weight"},
    {Role::kQUp, "self_attn.q_b_proj.weight"},
    {Role::kKvDown, "self_attn.kv_a_proj_with_mqa.weight"},
    {Role::kKvDownNorm, "self_attn.kv_a_layernorm.weight"},
    {Role::kKvUp, "self_attn.kv_b_proj.weight"},
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

LatentAttention attention_of(const Settings& config) {
  LatentAttention attention;
  if (config.flag_or("attention_bias", false)) {
    config.not_supported("attention_bias", "latent attention with biases is not computed here");
  }
  attention.heads = config.integer("num_attention_heads");
  attention.q_rank = config.integer_or("q_lora_rank", config.mentions("q_lora_rank") ? 0 : 1536);
  attention.kv_rank = config.integer_or("kv_lora_rank", 512);
  attention.nope_dim = config.integer_or("qk_nope_head_dim", 128);
  attention.rope_dim = config.integer_or("qk_rope_head_dim", 64);
  attention.v_dim = config.integer_or("v_head_dim", 128);
  attention.latent_eps = kLatentEps;
  attention.rotary = hf_whole_rotary(config, attention.rope_dim, {.positions = 4096});
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

// The router has sigmoid scores, groups, and a bias that affects only the choice.
RouterConfig router_of(const Settings& config) {
  if (config.text_or("scoring_func", "sigmoid") != "sigmoid") {
    config.not_supported("scoring_func", "sigmoid is the one that is computed here");
  }
  if (config.text_or("topk_method", "noaux_tc") != "noaux_tc") {
    config.not_supported("topk_method", "noaux_tc is the one that is computed here");
  }
  RouterConfig router;
  router.score = RouterScore::kSigmoid;
  router.experts = hf_expert_count(config, "n_routed_experts", 256);
  router.chosen = config.integer_or("num_experts_per_tok", 8);
  const int64_t groups = config.integer_or("n_group", 8);
  const int64_t chosen_groups = config.integer_or("topk_group", 4);
  if (chosen_groups < groups) {  // otherwise every group is chosen
    router.groups = groups;
    router.chosen_groups = chosen_groups;
    router.ranked_by = 2;
  }
  router.selection_bias = true;
  router.normalized = config.flag_or("norm_topk_prob", !config.mentions("norm_topk_prob"));
  router.factor = config.real_or("routed_scaling_factor", 2.5);
  return router;
}

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp;
  mlp.router = router_of(config);
  mlp.width = config.integer_or("moe_intermediate_size", 2048);
  mlp.shared_width = bridge::checked_mul(config.integer_or("n_shared_experts", 1), mlp.width,
                                         "size of the shared experts");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  LayerConfig out;
  out.attention = attention_of(config);
  if (layer >= config.integer_or("first_k_dense_replace", 3)) {
    out.mlp = experts_of(config);
  } else {
    out.mlp = DenseMlp{config.integer("intermediate_size"), false};
  }
  return out;
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  if (drop_mtp) return model;
  const int64_t depths = hf_layer_count(config, "num_nextn_predict_layers", 0);
  model.mtp.assign(static_cast<size_t>(depths), {attention_of(config), experts_of(config)});
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

std::vector<HfDepthStart> depth_starts(const HfModel& model) {
  return {{model.prefix + "layers.", model.config.layers.size()}};
}

}  // namespace

constexpr HfArchitecture architectures::kDeepseekV3 = {
    .model_types = kModelTypes,
    .classes = kClasses,
    .config = config_of,
    .places = places_of,
    .depths = {depth_starts, "embed_tokens.weight", "shared_head.head.weight"}};

}  // namespace models
