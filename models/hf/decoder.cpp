#include "models/hf/decoder.h"

#include <fmt/format.h>

#include <string>

#include "bridge/io/base/error.h"
#include "models/hf/config.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

constexpr HfName kEveryLayer[] = {
    {Role::kAttentionNorm, "input_layernorm.weight"},
    {Role::kMlpNorm, "post_attention_layernorm.weight"},
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

// null says one for each head; what absence says is the class's own.
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
  if (config.text_or("hidden_act", "silu") != "silu") {
    config.not_supported("hidden_act", "silu is the one that is computed here");
  }
  ModelConfig model;
  model.hidden = config.integer("hidden_size");
  model.vocab = config.integer("vocab_size");
  model.tied = config.flag_or("tie_word_embeddings", false);
  model.norm = {NormKind::kCastThenScale, config.real_or("rms_norm_eps", default_eps)};
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

RotaryConfig hf_whole_rotary(const Settings& config, int64_t channels, double default_base) {
  const std::optional<Settings> rope = hf_rope_section(config);
  if (rope && rope->real_or("partial_rotary_factor", 1) != 1) {
    rope->not_supported("partial_rotary_factor", "these models turn whole heads");
  }
  return hf_rotary_config(config, rope, channels, default_base);
}

int64_t hf_expert_count(const Settings& config, std::string_view name) {
  return config.has(name) ? config.integer(name) : config.integer("num_local_experts");
}

std::vector<HfPlace> hf_decoder_places(const HfModel& model, const TensorId& id,
                                       std::span<const HfName> own) {
  if (id.role == Role::kEmbedding) return {{model.prefix + "embed_tokens.weight"}};
  if (id.role == Role::kFinalNorm) return {{model.prefix + "norm.weight"}};
  if (id.role == Role::kOutput) return {{"lm_head.weight"}};
  std::string_view inner = hf_name(own, id.role);
  if (inner.empty()) inner = hf_name(kEveryLayer, id.role);
  if (inner.empty()) no_hf_name(id);
  const int64_t layer = id.section == Section::kMtp
                            ? static_cast<int64_t>(model.config.layers.size()) + id.index
                            : id.index;
  return {{fmt::format("{}layers.{}.{}", model.prefix, layer,
                       fmt::format(fmt::runtime(inner), id.expert))}};
}

std::vector<HfPlace> hf_plain_places(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, {});
}

}  // namespace models
