// DeepSeek-V2, V2.5 and V2-Lite: latent attention; the first layers are dense, the others have a
// softmax router that ranks groups of experts by their best one or has no groups. The weights are
// not normalized, whatever norm_topk_prob says: DeepseekV2TopkRouter does not read it, and the
// release's own module gives it another meaning than other classes, so true is refused.
// Truth: transformers' configuration_deepseek_v2.py, modeling_deepseek_v2.py.
#include "bridge/io/base/checked.h"
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v2"};
constexpr std::string_view kClasses[] = {"DeepseekV2ForCausalLM", "DeepseekV2Model"};

void check_computed(const Settings& config) {
  if (config.text_or("scoring_func", "softmax") != "softmax") {
    config.not_supported("scoring_func", "softmax is the one that is computed here");
  }
  for (const std::string_view flag : {"norm_topk_prob", "mlp_bias"}) {
    if (config.flag_or(flag, false)) config.not_supported(flag, "not computed here");
  }
}

RouterConfig router_of(const Settings& config) {
  RouterConfig router;
  router.score = RouterScore::kSoftmax;
  router.experts = hf_expert_count(config, "n_routed_experts", 64);
  router.chosen = config.integer("num_experts_per_tok");
  router.factor = config.real_or("routed_scaling_factor", 1);
  const std::string method = config.text_or("topk_method", "greedy");
  if (method == "greedy") return router;
  if (method != "group_limited_greedy") {
    config.not_supported("topk_method", "greedy and group_limited_greedy are computed here");
  }
  const int64_t groups = config.integer("n_group");
  const int64_t chosen_groups = config.integer("topk_group");
  if (chosen_groups < groups) {  // otherwise every group is chosen
    router.groups = groups;
    router.chosen_groups = chosen_groups;
    router.ranked_by = 1;
  }
  return router;
}

MlpConfig mlp_of(const Settings& config, int64_t layer) {
  if (!hf_is_after_dense(config, layer, 0)) {
    return DenseMlp{config.integer("intermediate_size"), false};
  }
  MixtureOfExperts mlp;
  mlp.router = router_of(config);
  mlp.width = config.integer_or("moe_intermediate_size", 1407);
  mlp.shared_width = bridge::checked_mul(config.integer_or("n_shared_experts", 2), mlp.width,
                                         "size of the shared experts");
  return mlp;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  return {hf_latent_attention(config, {.q_rank = 1536, .positions = 2048}), mlp_of(config, layer)};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  check_computed(config);
  return hf_decoder_config(config, 1e-6, layer_of);
}

}  // namespace

constexpr HfArchitecture architectures::kDeepseekV2 = {.model_types = kModelTypes,
                                                       .classes = kClasses,
                                                       .config = config_of,
                                                       .places = hf_deepseek_places};

}  // namespace models
