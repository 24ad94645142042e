#include "models/megatron/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "models/megatron/gemma.h"
#include "models/megatron/hybrid.h"
#include "models/megatron/vision.h"

namespace models {
namespace {

constexpr double kHyperEps = 1e-6;  // a constant in hyper_connection.py

// _yarn_get_mscale in yarn_rotary_pos_embedding.py.
double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

struct YarnFields {
  std::string_view factor, original, beta_fast, beta_slow, mscale, mscale_all_dim;
};

// The names in MLATransformerConfig, and those that GPTModel reads for other attention.
constexpr YarnFields kLatentYarn = {
    "rotary_scaling_factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "mscale",
    "mscale_all_dim"};
constexpr YarnFields kGroupedYarn = {"yarn_rotary_scaling_factor",
                                     "yarn_original_max_position_embeddings",
                                     "yarn_beta_fast",
                                     "yarn_beta_slow",
                                     "yarn_mscale",
                                     "yarn_mscale_all_dim"};

void read_yarn(const Settings& model, const YarnFields& fields, double default_factor,
               double default_mscale, RotaryConfig& rotary) {
  rotary.scaling = RotaryScaling::kYarn;
  rotary.factor = model.real_or(fields.factor, default_factor);
  rotary.original_positions = model.integer_or(fields.original, 4096);
  rotary.beta_fast = model.real_or(fields.beta_fast, 32);
  rotary.beta_slow = model.real_or(fields.beta_slow, 1);
  const double mscale = model.real_or(fields.mscale, default_mscale);
  const double mscale_all_dim = model.real_or(fields.mscale_all_dim, 0);
  rotary.magnitude =
      yarn_mscale(rotary.factor, mscale) / yarn_mscale(rotary.factor, mscale_all_dim);
}

double rotary_percent(const Settings& model) {
  const double percent = model.real_or("rotary_percent", 1);
  if (!(percent > 0) || percent > 1) model.refuse("rotary_percent", "not in 0 to 1");
  return percent;
}

RotaryConfig grouped_rotary(const Settings& model, int64_t head_dim) {
  RotaryConfig rotary;
  rotary.channels = part_of(head_dim, rotary_percent(model));
  if (gemma_of(model) != Gemma::kGemma3) rotary.base = model.real_or("rotary_base", 10000);
  if (model.flag_or("rotary_interleaved", false)) rotary.layout = RotaryLayout::kPairs;
  const std::string kind = model.text_or("position_embedding_type", "learned_absolute");
  if (kind == "yarn") {
    rotary.channels = head_dim;  // YarnRotaryEmbedding has no partial form
    for (const std::string_view name :
         {kGroupedYarn.factor, kGroupedYarn.original, kGroupedYarn.beta_fast,
          kGroupedYarn.beta_slow, kGroupedYarn.mscale, kGroupedYarn.mscale_all_dim}) {
      // GPTModel passes None on where the field is absent.
      if (!model.has(name)) model.refuse(name, "missing");
    }
    read_yarn(model, kGroupedYarn, 1, 1, rotary);
    rotary.round_range = model.flag_or("yarn_correction_range_round_to_int", false);
  } else if (kind != "rope" && kind != "mrope") {
    // mrope is computed too: its sections are all the same for text.
    model.not_supported("position_embedding_type",
                        fmt::format("'{}' is not computed here (rope, mrope, yarn and none are)",
                                    bridge::printable(kind)));
  } else if (kind == "rope" && model.flag_or("rope_scaling", false)) {
    rotary.scaling = RotaryScaling::kLlama3;
    rotary.factor = model.real_or("rope_scaling_factor", 8);
    rotary.low_freq_factor = 1;  // constants of RotaryEmbedding._apply_scaling
    rotary.high_freq_factor = 4;
    rotary.original_positions = 8192;
  } else if (model.has("seq_len_interpolation_factor")) {
    rotary.scaling = RotaryScaling::kLinear;
    rotary.factor = model.real("seq_len_interpolation_factor");
  }
  return rotary;
}

// window_size is (tokens before, after); window_attn_skip_freq says which layers have no window.
int64_t window_of(const Settings& model, int64_t layer) {
  const std::vector<int64_t> size = model.integers("window_size");
  if (size.empty()) return 0;
  if (size.size() != 2 || size[1] != 0) {
    model.not_supported("window_size", "(tokens before, 0) is the form that is computed here");
  }
  if (model.is_list("window_attn_skip_freq")) {
    const std::vector<int64_t> slides = model.integers("window_attn_skip_freq");
    if (static_cast<size_t>(layer) >= slides.size()) {
      model.refuse("window_attn_skip_freq", fmt::format("none for layer {}", layer));
    }
    if (slides[static_cast<size_t>(layer)] == 0) return 0;
  } else if (model.has("window_attn_skip_freq")) {
    const int64_t every = model.integer("window_attn_skip_freq");
    if (every < 1) model.refuse("window_attn_skip_freq", "not positive");
    if ((layer + 1) % every == 0) return 0;
  }
  return size[0] < 0 ? 0 : bridge::checked_add(size[0], 1, "window_size");
}

// no_rope_freq is N, where every Nth layer has no positions, or a list of 1 (none) and 0.
bool has_positions(const Settings& model, int64_t layer) {
  if (model.text_or("position_embedding_type", "") == "none") return false;
  if (!model.has("no_rope_freq")) return true;
  if (model.is_list("no_rope_freq")) {
    const std::vector<int64_t> pattern = model.integers("no_rope_freq");
    if (static_cast<size_t>(layer) >= pattern.size()) {
      model.refuse("no_rope_freq", fmt::format("none for layer {}", layer));
    }
    return pattern[static_cast<size_t>(layer)] == 0;
  }
  const int64_t every = model.integer("no_rope_freq");
  if (every < 1) model.refuse("no_rope_freq", "not positive");
  return (layer + 1) % every != 0;
}

// Specifications of Megatron-Bridge whose attention norms the channels of all heads together.
constexpr std::string_view kWholeNormSpecs[] = {".olmoe_layer_spec", ".minimax_m2_layer_spec"};

bool has_whole_qk_norm(const Settings& model) {
  const std::optional<Settings> spec = model.section("transformer_layer_spec");
  const std::string target = spec ? spec->text_or("_target_", "") : "";
  return std::any_of(std::begin(kWholeNormSpecs), std::end(kWholeNormSpecs),
                     [&](std::string_view name) { return target.ends_with(name); });
}

// 0 where the scale is what heads of this size have anyway.
double own_scale(double scale, int64_t head_dim) {
  return scale == 1 / std::sqrt(static_cast<double>(head_dim)) ? 0 : scale;
}

GroupedAttention grouped_attention_of(const Settings& model, int64_t layer) {
  GroupedAttention attention;
  attention.heads = model.integer("num_attention_heads");
  if (attention.heads < 1) model.refuse("num_attention_heads", "not positive");
  attention.kv_heads = model.integer_or("num_query_groups", attention.heads);
  attention.head_dim =
      model.integer_or("kv_channels", model.integer("hidden_size") / attention.heads);
  attention.output_bias = model.flag_or("add_bias_linear", true);
  attention.qkv_bias = attention.output_bias || model.flag_or("add_qkv_bias", false);
  // These specifications do not ask qk_layernorm, which is false beside that of MiniMax-M2.
  attention.whole_qk_norm = has_whole_qk_norm(model);
  attention.qk_norm = attention.whole_qk_norm || model.flag_or("qk_layernorm", false);
  attention.gated = model.flag_or("attention_output_gate", false);
  attention.sinks = model.text_or("softmax_type", "vanilla") == "learnable";
  const Gemma gemma = gemma_of(model);
  if (gemma != Gemma::kGemma3) attention.window = window_of(model, layer);
  if (model.has("softmax_scale")) {
    attention.scale = own_scale(model.real("softmax_scale"), attention.head_dim);
  }
  // Llama-4: mcore-bridge leaves layers without positions without this norm too; Megatron-Core's
  // own specifications do not, and nothing in a checkpoint tells them apart.
  if (has_positions(model, layer)) {
    attention.rotary = grouped_rotary(model, attention.head_dim);
    attention.unit_qk = model.flag_or("qk_l2_norm", false);
  }
  read_gemma_attention(gemma, model, layer, attention);
  return attention;
}

// linear_attention_freq is N, where every Nth layer is not linear, or a list of 1 (linear) and 0.
bool is_linear(const Settings& model, int64_t layer) {
  if (attention_variant(model) != AttentionVariant::kGatedDelta) return false;
  if (model.is_list("linear_attention_freq")) {
    const std::vector<int64_t> pattern = model.integers("linear_attention_freq");
    if (static_cast<size_t>(layer) >= pattern.size()) {
      model.refuse("linear_attention_freq", fmt::format("none for layer {}", layer));
    }
    return pattern[static_cast<size_t>(layer)] != 0;
  }
  const int64_t every = model.integer("linear_attention_freq");
  if (every < 1) model.refuse("linear_attention_freq", "not positive");
  return (layer + 1) % every != 0;
}

DeltaAttention delta_attention_of(const Settings& model) {
  return {model.integer("linear_num_key_heads"), model.integer("linear_num_value_heads"),
          model.integer("linear_key_head_dim"), model.integer("linear_value_head_dim"),
          model.integer("linear_conv_kernel_dim")};
}

LatentAttention latent_attention_of(const Settings& model, int64_t layer) {
  if (!model.flag_or("qk_layernorm", false)) {
    model.not_supported("qk_layernorm", "latent attention without norms is not computed here");
  }
  if (model.flag_or("add_bias_linear", true)) {
    model.not_supported("add_bias_linear", "latent attention with biases is not computed here");
  }
  LatentAttention attention;
  attention.heads = model.integer("num_attention_heads");
  attention.q_rank = model.integer_or("q_lora_rank", model.mentions("q_lora_rank") ? 0 : 512);
  attention.kv_rank = model.integer_or("kv_lora_rank", 512);
  attention.nope_dim = model.integer_or("qk_head_dim", 128);
  attention.rope_dim = model.integer_or("qk_pos_emb_head_dim", 64);
  attention.v_dim = model.integer_or("v_head_dim", 128);
  attention.latent_eps = model.real_or("layernorm_epsilon", 1e-5);

  RotaryConfig& rotary = attention.rotary;
  rotary.layout = RotaryLayout::kPairs;  // apply_rotary_pos_emb with multi_latent_attention
  rotary.channels = attention.rope_dim;
  rotary.base = model.real_or("rotary_base", 10000);
  const double factor = model.real_or("rotary_scaling_factor", 40);
  const std::string type = model.text_or("rope_type", "yarn");
  if (type == "yarn") {
    read_yarn(model, kLatentYarn, 40, 1, rotary);
    rotary.round_range = true;
  } else if (type != "rope") {
    model.not_supported("rope_type", fmt::format("'{}' is not computed here (rope and yarn are)",
                                                 bridge::printable(type)));
  } else if (rotary_percent(model) != 1) {
    model.not_supported("rotary_percent", "latent attention turns whole heads");
  }
  // multi_latent_attention.py scales the softmax by this for every type.
  const double mscale = yarn_mscale(factor, model.real_or("mscale_all_dim", 0));
  attention.softmax_factor = mscale * mscale;
  if (attention_variant(model) == AttentionVariant::kSparse) {
    attention.index = dsa_index(model, layer + 1);
  }
  return attention;
}

AttentionConfig attention_of(const Settings& model, int64_t layer) {
  if (attention_variant(model) == AttentionVariant::kDsv4Hybrid) {
    return dsv4_hybrid_attention(model, layer);
  }
  if (is_linear(model, layer)) return delta_attention_of(model);
  if (model.flag_or("multi_latent_attention", false)) return latent_attention_of(model, layer);
  return grouped_attention_of(model, layer);
}

// experts: whether the MLP is a mixture.
MlpConfig mlp_of(const Settings& model, int64_t layer, bool experts) {
  if (experts) return experts_of(model, layer < model.integer_or("moe_n_hash_layers", 0));
  return dense_of(model);
}

// Of a HybridModel.
LayerConfig layer_of(const Settings& model, int64_t layer, const HybridBlocks::Layer& blocks) {
  LayerConfig out{NoAttention(), NoMlp()};
  if (blocks.attention == 'M') out.attention = mamba_of(model);
  if (blocks.attention == '*') out.attention = attention_of(model, layer);
  if (blocks.mlp != ' ') out.mlp = mlp_of(model, layer, blocks.mlp == 'E');
  return out;
}

// get_gpt_mtp_block_spec takes the specification of the last decoder layer. In it, dsv4_hybrid has
// separate ratios for the depths and no table of experts, and dsa numbers the depths by themselves.
LayerConfig depth_layer_of(const Settings& model, int64_t layers, int64_t depth,
                           const LayerConfig& last) {
  switch (attention_variant(model)) {
    case AttentionVariant::kDsv4Hybrid:
      return {dsv4_hybrid_attention(model, layers + depth), experts_of(model, /*hashed=*/false)};
    case AttentionVariant::kSparse:
      return {latent_attention_of(model, depth), last.mlp};
    default:
      return last;
  }
}

// has_mamba: as HybridBlocks::has_mamba.
NormConfig norm_of(const Settings& model, bool has_mamba) {
  NormConfig norm;
  const bool centred = model.flag_or("layernorm_zero_centered_gamma", false);
  if (model.text_or("normalization", "LayerNorm") == "LayerNorm") {
    norm.kind = centred ? NormKind::kLayerZeroCentred : NormKind::kLayer;
  } else if (centred) {
    norm.kind = NormKind::kZeroCentred;
  }
  const bool casts_last = has_mamba || attention_variant(model) == AttentionVariant::kDsv4Hybrid;
  if (casts_last && norm.kind == NormKind::kCastThenScale) norm.kind = NormKind::kScaleThenCast;
  norm.eps = model.real_or("layernorm_epsilon", 1e-5);
  return norm;
}

// Megatron-LM dev and main have a feature each, under names of their own.
HyperConnections hyper_of(const Settings& model) {
  HyperConnections hyper;
  std::string_view streams = "num_residual_streams";
  if (model.flag_or("enable_mhc_connections", false)) {
    streams = "mhc_num_residual_streams";
    hyper.dialect = HyperDialect::kMegatronMain;
  } else if (!model.flag_or("enable_hyper_connections", false)) {
    return hyper;
  }
  hyper.streams = model.integer_or(streams, 4);
  hyper.steps = model.integer_or("mhc_sinkhorn_iterations", 20);
  hyper.eps = kHyperEps;
  if (hyper.streams < 1) model.refuse(streams, "not positive");
  return hyper;
}

}  // namespace

AttentionVariant attention_variant(const Settings& model) {
  const std::string name = model.text_or("experimental_attention_variant", "");
  if (name.empty()) return AttentionVariant::kNone;
  if (name == "gdn" || name == "gated_delta_net") return AttentionVariant::kGatedDelta;
  if (name == "dsa") return AttentionVariant::kSparse;
  if (name == "dsv4_hybrid") return AttentionVariant::kDsv4Hybrid;
  model.not_supported("experimental_attention_variant",
                      fmt::format("'{}' is not computed here", bridge::printable(name)));
}

bool is_quick_gelu(const Settings& model) {
  const std::optional<Settings> activation = model.section("activation_func");
  const std::string function = activation ? activation->text_or("_target_", "") : "";
  return function == kQuickGelu || function == "megatron.core.activations.quick_gelu";
}

ModelConfig megatron_model_config(const Settings& model, bool post_norms) {
  check_computed(model);
  ModelConfig config;
  config.hidden = model.integer("hidden_size");
  config.vocab = model.integer("vocab_size");
  config.tied = model.flag_or("share_embeddings_and_output_weights", true);
  const std::optional<HybridBlocks> hybrid = hybrid_blocks(model);
  config.norm = norm_of(model, hybrid && hybrid->has_mamba());
  config.post_norms = post_norms;
  read_gemma_ends(gemma_of(model), model, config);
  config.hyper = hyper_of(model);
  const int64_t layers = hybrid ? std::ssize(hybrid->layers()) : model.integer("num_layers");
  const bool lists_depths = hybrid && !hybrid->depths().empty();
  const int64_t depths =
      lists_depths ? std::ssize(hybrid->depths()) : model.integer_or("mtp_num_layers", 0);
  for (const auto& [name, count] : {std::pair("num_layers", layers), {"mtp_num_layers", depths}}) {
    if (count < 0 || count > kMostLayers) {
      model.refuse(name, fmt::format("{} is no number of layers", count));
    }
  }
  for (int64_t layer = 0; layer < layers; ++layer) {
    config.layers.push_back(
        hybrid ? layer_of(model, layer, hybrid->layers()[static_cast<size_t>(layer)])
               : LayerConfig{attention_of(model, layer),
                             mlp_of(model, layer, has_experts(model, layer))});
  }
  for (int64_t depth = 0; depth < depths && !config.layers.empty(); ++depth) {
    config.mtp.push_back(lists_depths
                             ? layer_of(model, depth, hybrid->depths()[static_cast<size_t>(depth)])
                             : depth_layer_of(model, layers, depth, config.layers.back()));
  }
  config.vision = megatron_vision_tower(model);
  bridge::with_context(model.where(), [&] { check(config); });
  return config;
}

}  // namespace models
