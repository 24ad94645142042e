// The descriptor of DeepSeek-V4. Its config.json has two forms:
//   the release's      compress_ratios (one per layer, those of multi-token prediction depths after
//                      the last), num_hash_layers, rope_theta and compress_rope_theta, rope_scaling
//   transformers'      layer_types with compress_rates, mlp_layer_types, rope_parameters with
//                      `main` and `compress`
// Layers without summaries have unscaled rotary encodings of the first base. Those with summaries
// have scaled ones of the second base, without YaRN's magnitude. Ratio 4 means overlapping
// summaries and an index; other ratios have neither. The tensors decide whether there is
// multi-token prediction, because transformers leaves it out and still writes the configuration as
// if it were there.
// Truth: DeepSeek-V4 inference/model.py; transformers' configuration_deepseek_v4.py.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/decoder.h"
#include "models/hf/deepseek_v4_names.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v4"};
constexpr std::string_view kClasses[] = {"DeepseekV4ForCausalLM"};
constexpr std::string_view kNotTypes[] = {"deepseek_v41"};
constexpr std::string_view kDepthCount = "num_nextn_predict_layers";
constexpr int64_t kIndexedRatio = 4;
constexpr int64_t kPositions = 1048576;  // the class's default
// The default where the configuration does not give the part.
constexpr double kHeadPartTurned = 64.0 / 512;

struct Compression {
  int64_t ratio = 0;
  bool indexed = false;  // has overlapping summaries and an index that chooses among them
};

int64_t rate(const Settings& config, std::string_view type, int64_t absent) {
  const std::optional<Settings> rates = config.section("compress_rates");
  return rates ? rates->integer_or(type, absent) : absent;
}

Compression compression_of_type(const Settings& config, const std::string& type) {
  if (type == "sliding_attention") return {};
  if (type == "compressed_sparse_attention") return {rate(config, type, kIndexedRatio), true};
  if (type == "heavily_compressed_attention") return {rate(config, type, 128), false};
  config.not_supported("layer_types",
                       fmt::format("'{}' is not computed here", bridge::printable(type)));
}

Compression compression_by_types(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("layer_types");
  const size_t at = static_cast<size_t>(layer);
  if (at >= types.size()) {
    config.refuse("layer_types", fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  return compression_of_type(config, types[at]);
}

// layer: depths are counted after the last decoder layer. The release reads the ratios,
// transformers the types.
Compression compression_of(const Settings& config, int64_t layer, int64_t layers) {
  const bool is_depth = layer >= layers;
  if (!config.has("compress_ratios")) {
    return is_depth ? Compression{} : compression_by_types(config, layer);
  }
  const std::vector<int64_t> ratios = config.integers("compress_ratios");
  const size_t at = static_cast<size_t>(layer);
  if (at >= ratios.size()) {
    if (is_depth) return {};
    config.refuse("compress_ratios",
                  fmt::format("{} of them, none for layer {}", ratios.size(), layer));
  }
  const int64_t ratio = ratios[at];
  if (config.has("layer_types") && !is_depth &&
      compression_by_types(config, layer).ratio != ratio) {
    config.refuse("layer_types",
                  fmt::format("compress_ratios say {} of layer {}, these do not", ratio, layer));
  }
  return {ratio, ratio == kIndexedRatio};
}

RotaryConfig rotary_of(const Settings& config, int64_t channels, bool compressed) {
  const std::optional<Settings> rope = hf_rope_section(config);
  RotaryConfig rotary;
  if (rope && rope->section("main") && rope->section("compress")) {
    rotary = hf_rotary_config(config, rope->section(compressed ? "compress" : "main"), channels,
                              {.base = compressed ? 160000.0 : 10000.0, .positions = kPositions});
  } else if (compressed) {
    rotary = hf_rotary_config(config, rope, channels, {.base = 0, .positions = kPositions});
    rotary.base = config.real_or("compress_rope_theta", 160000);
    rotary.magnitude = rope ? rope->real_or("attention_factor", 1) : 1;
  } else {
    rotary.channels = channels;
    rotary.base = config.real_or("rope_theta", 10000);
  }
  rotary.layout = RotaryLayout::kPairs;
  return rotary;
}

CompressedAttention attention_of(const Settings& config, const Compression& compression) {
  CompressedAttention attention;
  attention.heads = config.integer("num_attention_heads");
  attention.head_dim = config.integer_or("head_dim", 512);
  const double part = config.real_or("partial_rotary_factor", kHeadPartTurned);
  const int64_t turned = part_of(attention.head_dim, part);
  attention.rope_dim = config.integer_or("qk_rope_head_dim", turned);
  if (config.has("partial_rotary_factor") && attention.rope_dim != turned) {
    config.refuse("partial_rotary_factor",
                  fmt::format("{} of a head's channels, qk_rope_head_dim says {}", turned,
                              attention.rope_dim));
  }
  attention.q_rank = config.integer_or("q_lora_rank", 1024);
  attention.window = config.integer_or("sliding_window", 128);
  attention.output_groups = config.integer_or("o_groups", 8);
  attention.output_rank = config.integer_or("o_lora_rank", 1024);
  attention.ratio = compression.ratio;
  if (compression.indexed) {
    attention.overlapping = true;
    attention.index_heads = config.integer_or("index_n_heads", 64);
    attention.index_dim = config.integer_or("index_head_dim", 128);
    attention.index_chosen = config.integer_or("index_topk", 512);
  }
  attention.rotary = rotary_of(config, attention.rope_dim, compression.ratio > 0);
  return attention;
}

bool is_hashed(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("mlp_layer_types");
  if (types.empty()) return layer < config.integer_or("num_hash_layers", 3);
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse("mlp_layer_types",
                  fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  return types[static_cast<size_t>(layer)] == "hash_moe";
}

MixtureOfExperts experts_of(const Settings& config, bool hashed) {
  if (config.text_or("scoring_func", "sqrtsoftplus") != "sqrtsoftplus") {
    config.not_supported("scoring_func", "sqrtsoftplus is the one that is computed here");
  }
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSqrtSoftplus;
  mlp.router.experts = hf_expert_count(config, "n_routed_experts", 256);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 6);
  mlp.router.selection_bias = !hashed;
  mlp.router.by_token = hashed;
  mlp.router.normalized = true;  // whatever norm_topk_prob says
  mlp.router.factor = config.real_or("routed_scaling_factor", 1.5);
  mlp.width =
      config.integer_or("moe_intermediate_size", config.integer_or("intermediate_size", 2048));
  mlp.shared_width = bridge::checked_mul(config.integer_or("n_shared_experts", 1), mlp.width,
                                         "size of the shared experts");
  mlp.limit = config.real_or("swiglu_limit", 10);
  return mlp;
}

void check_computed(const Settings& config, bool drop_mtp) {
  for (const std::string_view name : {"dspark_block_size", "dspark_target_layer_ids"}) {
    if (drop_mtp || !config.has(name)) continue;
    config.not_supported(name, "the draft model DSpark is not computed here");
  }
  if (config.integer_or("num_key_value_heads", 1) != 1) {
    config.not_supported("num_key_value_heads", "one key and value head is what is computed here");
  }
  for (const std::string_view flag : {"attention_bias", "mlp_bias"}) {
    if (config.flag_or(flag, false)) config.not_supported(flag, "biases are not computed here");
  }
  if (config.integer_or("hc_mult", 4) < 1) config.refuse("hc_mult", "not positive");
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  check_computed(config, drop_mtp);
  ModelConfig model;
  model.hidden = config.integer("hidden_size");
  model.vocab = config.integer("vocab_size");
  model.tied = config.flag_or("tie_word_embeddings", false);
  model.norm = {NormKind::kScaleThenCast, config.real_or("rms_norm_eps", 1e-6)};
  model.hyper = {config.integer_or("hc_mult", 4), config.integer_or("hc_sinkhorn_iters", 20),
                 config.real_or("hc_eps", 1e-6)};
  const int64_t layers = hf_layer_count(config, "num_hidden_layers");
  const int64_t depths = drop_mtp ? 0 : hf_layer_count(config, kDepthCount, 0);
  for (int64_t layer = 0; layer < layers + depths; ++layer) {
    const bool is_depth = layer >= layers;
    (is_depth ? model.mtp : model.layers)
        .push_back({attention_of(config, compression_of(config, layer, layers)),
                    experts_of(config, !is_depth && is_hashed(config, layer))});
  }
  return model;
}

bool passes_over_mtp(const Settings& config) {
  return config.has(kDepthCount) && config.integer(kDepthCount) == 0;
}

void settle_mtp(ModelConfig& model, bool has_depths) {
  if (!has_depths) model.mtp.clear();
}

}  // namespace

constexpr HfArchitecture architectures::kDeepseekV4 = {
    .model_types = kModelTypes,
    .classes = kClasses,
    .not_types = kNotTypes,
    .config = config_of,
    .places = deepseek_v4_places,
    .depths = {deepseek_v4_depth_starts, "embed.weight", "head.weight"},
    .passes_over_mtp = passes_over_mtp,
    .settle_mtp = settle_mtp};

}  // namespace models
