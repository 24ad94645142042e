#include "models/hf/decoder.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "bridge/io/base/error.h"
#include "models/hf/config.h"

namespace models {
namespace {

constexpr HfName kEveryLayer[] = {
    {Role::kAttentionNorm, "input_layernorm.weight"},
    {Role::kMlpNorm, "post_attention_layernorm.weight"},
    {Role::kAttentionNormBias, "input_layernorm.bias"},
    {Role::kMlpNormBias, "post_attention_layernorm.bias"},
    {Role::kO, "self_attn.o_proj.weight"},
    {Role::kQ, "self_attn.q_proj.weight"},
    {Role::kK, "self_attn.k_proj.weight"},
    {Role::kV, "self_attn.v_proj.weight"},
    {Role::kQBias, "self_attn.q_proj.bias"},
    {Role::kKBias, "self_attn.k_proj.bias"},
    {Role::kVBias, "self_attn.v_proj.bias"},
    {Role::kOBias, "self_attn.o_proj.bias"},
    {Role::kQNorm, "self_attn.q_norm.weight"},
    {Role::kKNorm, "self_attn.k_norm.weight"},
    {Role::kGate, "mlp.gate_proj.weight"},
    {Role::kUp, "mlp.up_proj.weight"},
    {Role::kDown, "mlp.down_proj.weight"},
    {Role::kGateBias, "mlp.gate_proj.bias"},
    {Role::kUpBias, "mlp.up_proj.bias"},
    {Role::kDownBias, "mlp.down_proj.bias"},
};

// null means one per query head; an absent setting means the class's default.
int64_t kv_heads_of(const Settings& config, int64_t heads, std::optional<int64_t> absent) {
  constexpr std::string_view kName = "num_key_value_heads";
  if (config.mentions(kName)) return config.integer_or(kName, heads);
  return absent.value_or(heads);
}

int64_t head_dim_of(const Settings& config, int64_t heads, std::optional<int64_t> absent) {
  if (config.has("head_dim")) return config.integer("head_dim");
  if (absent) return *absent;
  if (heads < 1) config.refuse("num_attention_heads", "not positive");
  return config.integer("hidden_size") / heads;
}

}  // namespace

ModelConfig hf_decoder_config(const Settings& config, double default_eps,
                              LayerConfig (*layer_of)(const Settings& config, int64_t layer)) {
  hf_check_activation(config, "hidden_act", "silu");
  const NormConfig norm{NormKind::kCastThenScale, config.real_or("rms_norm_eps", default_eps)};
  return hf_decoder_config(config, norm, /*tied=*/false, layer_of);
}

void hf_check_activation(const Settings& config, std::string_view name, std::string_view computed) {
  if (config.text_or(name, computed) == computed) return;
  config.not_supported(name, fmt::format("{} is the one that is computed here", computed));
}

ModelConfig hf_decoder_config(const Settings& config, const NormConfig& norm, bool tied,
                              LayerConfig (*layer_of)(const Settings& config, int64_t layer)) {
  ModelConfig model;
  model.hidden = config.integer("hidden_size");
  model.vocab = config.integer("vocab_size");
  model.labels = hf_label_count(config);
  model.tied = model.labels == 0 && config.flag_or("tie_word_embeddings", tied);
  model.norm = norm;
  const int64_t layers = hf_layer_count(config, "num_hidden_layers");
  for (int64_t layer = 0; layer < layers; ++layer) model.layers.push_back(layer_of(config, layer));
  return model;
}

GroupedAttention hf_grouped_attention(const Settings& config, const HfHeadDefaults& defaults) {
  GroupedAttention attention;
  attention.heads = config.integer("num_attention_heads");
  attention.kv_heads = kv_heads_of(config, attention.heads, defaults.kv_heads);
  attention.head_dim = head_dim_of(config, attention.heads, defaults.head_dim);
  attention.qkv_bias = config.flag_or("attention_bias", false);
  attention.output_bias = attention.qkv_bias;
  return attention;
}

bool hf_slides(const Settings& config, int64_t layer, bool absent) {
  const std::vector<std::string> types = config.texts("layer_types");
  if (types.empty()) return absent;
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse("layer_types", fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  const std::string& type = types[static_cast<size_t>(layer)];
  if (type != "full_attention" && type != "sliding_attention") {
    config.not_supported("layer_types",
                         fmt::format("'{}' is not computed here", bridge::printable(type)));
  }
  return type == "sliding_attention";
}

RowPattern part_of_qkv(const GroupedAttention& attention, Role role) {
  const int64_t q = attention.heads * attention.head_dim;
  const int64_t kv = attention.kv_heads * attention.head_dim;
  const int64_t all = q + 2 * kv;
  switch (role) {
    case Role::kQ:
    case Role::kQBias:
      return {q, 0, q, q, all};
    case Role::kK:
    case Role::kKBias:
      return {kv, q, kv, kv, all};
    case Role::kV:
    case Role::kVBias:
      return {kv, q + kv, kv, kv, all};
    default:
      return {};
  }
}

RotaryConfig hf_whole_rotary(const Settings& config, int64_t channels,
                             const HfRotaryDefaults& defaults) {
  const std::optional<Settings> rope = hf_rope_section(config);
  if (rope && rope->real_or("partial_rotary_factor", 1) != 1) {
    rope->not_supported("partial_rotary_factor", "these models turn whole heads");
  }
  return hf_rotary_config(config, rope, channels, defaults);
}

int64_t hf_label_count(const Settings& config) {
  const std::vector<std::string> classes = config.texts("architectures");
  if (classes.empty() || !classes.front().ends_with("ForSequenceClassification")) return 0;
  const std::optional<Settings> names = config.section("id2label");
  return names ? static_cast<int64_t>(names->size()) : config.integer_or("num_labels", 2);
}

int64_t hf_expert_count(const Settings& config, std::string_view name, int64_t absent) {
  return config.has(name) ? config.integer(name) : config.integer_or("num_local_experts", absent);
}

void hf_add_trained_depth(const Settings& config, bool drop_mtp, ModelConfig& model) {
  constexpr std::string_view kCount = "num_nextn_predict_layers";
  const int64_t depths = drop_mtp ? 0 : hf_layer_count(config, kCount, 0);
  if (depths > 1) {
    config.not_supported(kCount, "one depth is what these models are read with here");
  }
  if (depths == 1 && !model.layers.empty()) model.mtp = {model.layers.back()};
}

std::vector<HfPlace> hf_decoder_places(const HfModel& model, const TensorId& id,
                                       std::span<const HfName> own, std::string_view depths) {
  if (id.role == Role::kEmbedding) return {{model.prefix + "embed_tokens.weight"}};
  if (id.role == Role::kFinalNorm) return {{model.prefix + "norm.weight"}};
  if (id.role == Role::kFinalNormBias) return {{model.prefix + "norm.bias"}};
  if (id.role == Role::kOutput) {
    return {{model.config.labels > 0 ? "score.weight" : "lm_head.weight"}};
  }
  const bool own_depths = !hf_name(own, Role::kMtpProjection).empty();
  const std::string_view frame = hf_mtp_frame_name(id.role);
  if (!own_depths && !frame.empty()) return {{std::string(frame)}};
  std::string layer = fmt::format("{}layers.{}.", model.prefix, id.index);
  if (id.section == Section::kMtp) {
    const int64_t layers = static_cast<int64_t>(model.config.layers.size());
    layer = !own_depths      ? fmt::format("mtp.layers.{}.", id.index)
            : depths.empty() ? fmt::format("{}layers.{}.", model.prefix, layers + id.index)
                             : fmt::format("{}{}.{}.", model.prefix, depths, id.index);
  }
  std::vector<HfPlace> places;
  const auto add = [&](std::span<const HfName> names) {
    for (const HfName& name : names) {
      if (name.role != id.role) continue;
      places.push_back({layer + fmt::format(fmt::runtime(name.name), id.expert)});
    }
  };
  add(own);
  if (places.empty()) add(kEveryLayer);
  if (std::optional<HfPlace> packed = hf_packed_expert(model, id, layer)) {
    places.push_back(std::move(*packed));
  }
  if (places.empty()) no_hf_name(id);
  return places;
}

std::vector<HfPlace> hf_plain_places(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, {});
}

}  // namespace models
