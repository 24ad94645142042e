// Gemma 2 and Gemma 3 (text): norms around both parts of a layer, stored as the weight minus one;
// an embedding that is scaled by sqrt(hidden_size); scores divided by sqrt(query_pre_attn_scalar);
// soft caps of scores and logits, which Gemma 3 has only where config.json sets them; windows in
// some layers. Gemma 3 norms queries and keys, and turns heads with another base where there is a
// window.
// Truth: transformers' configuration_gemma2.py, modeling_gemma2.py, configuration_gemma3.py,
// modeling_gemma3.py.
#include <cmath>
#include <optional>

#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kGemma2Types[] = {"gemma2"};
constexpr std::string_view kGemma2Classes[] = {"Gemma2ForCausalLM", "Gemma2Model"};
constexpr std::string_view kGemma3Types[] = {"gemma3_text"};
constexpr std::string_view kGemma3Classes[] = {"Gemma3ForCausalLM", "Gemma3TextModel"};

constexpr HfName kNames[] = {
    {Role::kAttentionPostNorm, "post_attention_layernorm.weight"},
    {Role::kMlpNorm, "pre_feedforward_layernorm.weight"},
    {Role::kMlpPostNorm, "post_feedforward_layernorm.weight"},
};

// A cap of null is none; without the setting there is the class's.
double cap_of(const Settings& config, std::string_view name, double absent) {
  return config.real_or(name, config.mentions(name) ? 0 : absent);
}

// The attention of either, without its rotation. slides: this layer has a window.
GroupedAttention attention_of(const Settings& config, bool slides, double cap) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 4, .head_dim = 256});
  attention.scale = score_scale(config.real_or("query_pre_attn_scalar", 256), attention.head_dim);
  attention.cap = cap_of(config, "attn_logit_softcapping", cap);
  const int64_t absent = config.mentions("sliding_window") ? 0 : 4096;
  if (slides) attention.window = config.integer_or("sliding_window", absent);
  return attention;
}

DenseMlp mlp_of(const Settings& config) {
  return {config.integer("intermediate_size"), false, Activation::kGeluTanh};
}

LayerConfig gemma2_layer(const Settings& config, int64_t layer) {
  GroupedAttention attention = attention_of(config, hf_slides(config, layer, layer % 2 == 0), 50);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 8192});
  return {attention, mlp_of(config)};
}

// Releases have rope_local_base_freq for layers with a window, rope_theta and rope_scaling for the
// others; transformers 5 has a section for each kind.
RotaryConfig gemma3_rotary(const Settings& config, bool slides, int64_t head_dim) {
  const std::optional<Settings> both = config.section("rope_parameters");
  const std::optional<Settings> own =
      both ? both->section(slides ? "sliding_attention" : "full_attention") : std::nullopt;
  const double base = slides ? config.real_or("rope_local_base_freq", 10000)
                             : config.real_or("rope_theta", 1000000);
  const std::optional<Settings> scaling = config.section("rope_scaling");
  const std::optional<Settings> section = own || slides ? own : scaling;
  RotaryConfig rotary = hf_rotary_config(config, section, head_dim, {.positions = 131072});
  rotary.base = section ? section->real_or("rope_theta", base) : base;
  return rotary;
}

LayerConfig gemma3_layer(const Settings& config, int64_t layer) {
  const int64_t every = config.integer_or("sliding_window_pattern", 6);
  if (every < 1) config.refuse("sliding_window_pattern", "not positive");
  const bool slides = hf_slides(config, layer, (layer + 1) % every != 0);
  GroupedAttention attention = attention_of(config, slides, 0);
  attention.qk_norm = true;
  attention.rotary = gemma3_rotary(config, slides, attention.head_dim);
  return {attention, mlp_of(config)};
}

ModelConfig config_of(const Settings& config, double logit_cap,
                      LayerConfig (*layer_of)(const Settings& config, int64_t layer)) {
  hf_check_activation(config, "hidden_activation", "gelu_pytorch_tanh");
  if (config.flag_or("use_bidirectional_attention", false)) {
    config.not_supported("use_bidirectional_attention", "attention is causal here");
  }
  const NormConfig norm{NormKind::kZeroCentred, config.real_or("rms_norm_eps", 1e-6)};
  ModelConfig model = hf_decoder_config(config, norm, /*tied=*/true, layer_of);
  model.post_norms = true;
  model.embedding_scale = std::sqrt(static_cast<double>(model.hidden));
  model.logit_cap = cap_of(config, "final_logit_softcapping", logit_cap);
  return model;
}

ModelConfig gemma2_config(const Settings& config, bool /*drop_mtp*/) {
  return config_of(config, 30, gemma2_layer);
}

ModelConfig gemma3_config(const Settings& config, bool /*drop_mtp*/) {
  return config_of(config, 0, gemma3_layer);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  return hf_decoder_places(model, id, kNames);
}

}  // namespace

constexpr HfArchitecture architectures::kGemma2 = {.model_types = kGemma2Types,
                                                   .classes = kGemma2Classes,
                                                   .config = gemma2_config,
                                                   .places = places_of};
constexpr HfArchitecture architectures::kGemma3 = {.model_types = kGemma3Types,
                                                   .classes = kGemma3Classes,
                                                   .config = gemma3_config,
                                                   .places = places_of};

}  // namespace models
