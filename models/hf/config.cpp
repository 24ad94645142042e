#include "models/hf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

constexpr double kLatentEps = 1e-6;  // DeepseekV3RMSNorm's own default, whatever rms_norm_eps says
constexpr std::pair<std::string_view, HfFamily> kFamilies[] = {
    {"llama", HfFamily::kLlama},
    {"qwen2", HfFamily::kQwen2},
    {"qwen3", HfFamily::kQwen3},
    {"qwen3_moe", HfFamily::kQwen3Moe},
    {"mixtral", HfFamily::kMixtral},
    {"deepseek_v3", HfFamily::kDeepseekV3},
    {"deepseek_v4", HfFamily::kDeepseekV4},
    {"qwen3_5", HfFamily::kQwen3_5},
    {"qwen3_5_text", HfFamily::kQwen3_5},
    {"qwen3_5_moe", HfFamily::kQwen3_5},
    {"qwen3_5_moe_text", HfFamily::kQwen3_5},
    {"qwen3_next", HfFamily::kQwen3_5},
};

RotaryConfig rotary_config(const Settings& config, int64_t channels, double default_base) {
  const std::optional<Settings> rope = hf_rope_section(config);
  if (rope && rope->real_or("partial_rotary_factor", 1) != 1) {
    rope->not_supported("partial_rotary_factor", "these models turn whole heads");
  }
  return hf_rotary_config(config, rope, channels, default_base);
}

// Of Qwen's classes; 0: none. null says none, absence says the class's own.
int64_t qwen_window(const Settings& config) {
  if (!config.flag_or("use_sliding_window", false)) return 0;
  return config.integer_or("sliding_window", config.mentions("sliding_window") ? 0 : 4096);
}

// layer_types where there is one, else from max_window_layers: Qwen2 and Qwen3.
bool qwen_layer_slides(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("layer_types");
  if (types.empty()) return layer >= config.integer_or("max_window_layers", 28);
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse("layer_types", fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  const std::string& type = types[static_cast<size_t>(layer)];
  if (type == "full_attention") return false;
  if (type != "sliding_attention") {
    config.not_supported("layer_types",
                         fmt::format("'{}' is not computed here", bridge::printable(type)));
  }
  if (qwen_window(config) == 0) config.refuse("layer_types", "some slide, but there is no window");
  return true;
}

int64_t window_of(HfFamily family, const Settings& config, int64_t layer) {
  switch (family) {
    case HfFamily::kMixtral:
      return config.integer_or("sliding_window", 0);
    case HfFamily::kQwen3Moe:
      return qwen_window(config);
    case HfFamily::kQwen2:
    case HfFamily::kQwen3:
      return qwen_layer_slides(config, layer) ? qwen_window(config) : 0;
    default:
      return 0;
  }
  return 0;
}

// null says one for each head; what absence says is the class's own.
int64_t kv_heads_of(HfFamily family, const Settings& config, int64_t heads) {
  constexpr std::string_view kName = "num_key_value_heads";
  if (config.mentions(kName)) return config.integer_or(kName, heads);
  switch (family) {
    case HfFamily::kQwen2:
    case HfFamily::kQwen3:
      return 32;
    case HfFamily::kQwen3Moe:
      return 4;
    case HfFamily::kMixtral:
      return 8;
    default:
      return heads;
  }
  return heads;
}

GroupedAttention grouped_attention_of(HfFamily family, const Settings& config, int64_t layer) {
  GroupedAttention attention;
  attention.heads = config.integer("num_attention_heads");
  attention.kv_heads = kv_heads_of(family, config, attention.heads);
  if (config.has("head_dim") || family == HfFamily::kQwen3) {
    attention.head_dim = config.integer_or("head_dim", 128);
  } else {
    if (attention.heads < 1) config.refuse("num_attention_heads", "not positive");
    attention.head_dim = config.integer("hidden_size") / attention.heads;
  }
  const bool biased = config.flag_or("attention_bias", false);
  const bool may_be_biased = family != HfFamily::kQwen2 && family != HfFamily::kMixtral;
  attention.qkv_bias = family == HfFamily::kQwen2 || (may_be_biased && biased);
  attention.output_bias = may_be_biased && biased;
  attention.qk_norm = family == HfFamily::kQwen3 || family == HfFamily::kQwen3Moe;
  attention.window = window_of(family, config, layer);
  attention.rotary =
      rotary_config(config, attention.head_dim, family == HfFamily::kMixtral ? 1000000.0 : 10000.0);
  return attention;
}

LatentAttention latent_attention_of(const Settings& config) {
  LatentAttention attention;
  if (config.flag_or("attention_bias", false)) {
    config.not_supported("attention_bias", "latent attention with biases is not computed here");
  }
  attention.heads = config.integer("num_attention_heads");
  attention.q_rank = config.integer_or("q_lora_rank", config.mentions("q_lora_rank") ? 0 : 1536);
  attention.kv_rank = config.integer("kv_lora_rank");
  attention.nope_dim = config.integer("qk_nope_head_dim");
  attention.rope_dim = config.integer("qk_rope_head_dim");
  attention.v_dim = config.integer("v_head_dim");
  attention.latent_eps = kLatentEps;
  attention.rotary = rotary_config(config, attention.rope_dim, 10000.0);
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

DenseMlp dense_mlp_of(HfFamily family, const Settings& config) {
  return {config.integer("intermediate_size"),
          family == HfFamily::kLlama && config.flag_or("mlp_bias", false)};
}

int64_t experts_of(const Settings& config, std::string_view name) {
  return config.has(name) ? config.integer(name) : config.integer("num_local_experts");
}

// Routers of DeepSeek-V3: sigmoid scores, groups, a bias for the choice.
RouterConfig grouped_router(const Settings& config) {
  if (config.text_or("scoring_func", "sigmoid") != "sigmoid") {
    config.not_supported("scoring_func", "sigmoid is the one that is computed here");
  }
  if (config.text_or("topk_method", "noaux_tc") != "noaux_tc") {
    config.not_supported("topk_method", "noaux_tc is the one that is computed here");
  }
  RouterConfig router;
  router.score = RouterScore::kSigmoid;
  router.experts = experts_of(config, "n_routed_experts");
  router.chosen = config.integer("num_experts_per_tok");
  const int64_t groups = config.integer_or("n_group", 8);
  const int64_t chosen_groups = config.integer_or("topk_group", 4);
  if (chosen_groups < groups) {  // else every group is chosen
    router.groups = groups;
    router.chosen_groups = chosen_groups;
    router.ranked_by = 2;
  }
  router.selection_bias = true;
  router.normalized = config.flag_or("norm_topk_prob", !config.mentions("norm_topk_prob"));
  router.factor = config.real_or("routed_scaling_factor", 2.5);
  return router;
}

MixtureOfExperts experts_part(HfFamily family, const Settings& config) {
  MixtureOfExperts mlp;
  if (family == HfFamily::kDeepseekV3) {
    mlp.router = grouped_router(config);
    mlp.width = config.integer("moe_intermediate_size");
    const int64_t shared = config.integer_or("n_shared_experts", 1);
    mlp.shared_width = bridge::checked_mul(shared, mlp.width, "size of the shared experts");
    return mlp;
  }
  const bool mixtral = family == HfFamily::kMixtral;
  mlp.router.score = RouterScore::kSoftmax;
  mlp.router.experts = experts_of(config, "num_experts");
  mlp.router.chosen = config.integer_or("num_experts_per_tok", mixtral ? 2 : 8);
  mlp.router.normalized = mixtral || config.flag_or("norm_topk_prob", false);
  mlp.width = config.integer(mixtral ? "intermediate_size" : "moe_intermediate_size");
  return mlp;
}

bool has_experts(HfFamily family, const Settings& config, int64_t layer) {
  switch (family) {
    case HfFamily::kMixtral:
      return true;
    case HfFamily::kDeepseekV3:
      return layer >= config.integer_or("first_k_dense_replace", 3);
    case HfFamily::kQwen3Moe: {
      const std::vector<int64_t> dense = config.integers("mlp_only_layers");
      const int64_t step = config.integer_or("decoder_sparse_step", 1);
      if (step < 1) config.refuse("decoder_sparse_step", "not positive");
      return std::find(dense.begin(), dense.end(), layer) == dense.end() && (layer + 1) % step == 0;
    }
    default:
      return false;
  }
  return false;
}

LayerConfig layer_of(HfFamily family, const Settings& config, int64_t layer) {
  LayerConfig out;
  if (family == HfFamily::kDeepseekV3) {
    out.attention = latent_attention_of(config);
  } else {
    out.attention = grouped_attention_of(family, config, layer);
  }
  if (has_experts(family, config, layer)) {
    out.mlp = experts_part(family, config);
  } else {
    out.mlp = dense_mlp_of(family, config);
  }
  return out;
}

}  // namespace

HfFamily hf_family(const Settings& config) {
  const std::string type = config.text_or("model_type", "");
  for (const auto& [name, family] : kFamilies) {
    if (name == type) return family;
  }
  config.not_supported("model_type",
                       fmt::format("there is no forward pass for '{}'", bridge::printable(type)));
}

int64_t hf_layer_count(const Settings& config, std::string_view name,
                       std::optional<int64_t> absent) {
  const int64_t count = absent ? config.integer_or(name, *absent) : config.integer(name);
  if (count < 0 || count > kMostLayers) {
    config.refuse(name, fmt::format("{} is no number of layers", count));
  }
  return count;
}

bool hf_passes_over_mtp(const Settings& config) {
  constexpr std::string_view kCount = "num_nextn_predict_layers";
  return hf_family(config) == HfFamily::kDeepseekV4 && config.has(kCount) &&
         config.integer(kCount) == 0;
}

ModelConfig hf_model_config(const Settings& config, bool drop_mtp) {
  const HfFamily family = hf_family(config);
  if (config.has("per_layer_config")) {
    config.not_supported("per_layer_config", "settings of single layers are not read here");
  }
  if (family == HfFamily::kDeepseekV4) return deepseek_v4_config(config, drop_mtp);
  if (family == HfFamily::kQwen3_5) return qwen3_5_config(config, drop_mtp);
  if (config.text_or("hidden_act", "silu") != "silu") {
    config.not_supported("hidden_act", "silu is the one that is computed here");
  }
  ModelConfig model;
  model.hidden = config.integer("hidden_size");
  model.vocab = config.integer("vocab_size");
  model.tied = config.flag_or("tie_word_embeddings", false);
  model.norm = {NormKind::kCastThenScale,
                config.real_or("rms_norm_eps", family == HfFamily::kMixtral ? 1e-5 : 1e-6)};
  const int64_t layers = hf_layer_count(config, "num_hidden_layers");
  for (int64_t layer = 0; layer < layers; ++layer) {
    model.layers.push_back(layer_of(family, config, layer));
  }
  if (family == HfFamily::kDeepseekV3 && !drop_mtp) {
    const int64_t depths = hf_layer_count(config, "num_nextn_predict_layers", 0);
    const LayerConfig depth = {latent_attention_of(config), experts_part(family, config)};
    model.mtp.assign(static_cast<size_t>(depths), depth);
  }
  bridge::with_context(config.where(), [&] { check(model); });
  return model;
}

}  // namespace models
