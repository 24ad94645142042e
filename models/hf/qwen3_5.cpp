// The descriptor of Qwen3.5, Qwen3.6 and Qwen3-Next, dense or with experts. Of a vision-language
// model only the text part runs: its settings are in text_config, and tie_word_embeddings and
// vision_config are beside that section. The three position numbers of a multi-section rotary
// encoding are equal for text, which makes it a plain one. The tensors decide whether there is
// multi-token prediction: transformers leaves it out and writes the configuration as if it were
// there, and the released Qwen3-Next has it without saying so. Only vLLM reads attn_output_gate;
// transformers has no model without the gate.
// Truth: transformers' configuration_qwen3_5.py, configuration_qwen3_5_moe.py,
// modeling_qwen3_5_moe.py, modeling_qwen3_next.py; vLLM's qwen3_next.py (Qwen3NextAttention, which
// qwen3_5.py takes).
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/qwen.h"
#include "models/hf/qwen3_5_names.h"
#include "models/hf/rotary.h"
#include "models/hf/vision.h"

namespace models {
namespace {

constexpr std::string_view kNext = "qwen3_next";
constexpr std::string_view kModelTypes[] = {"qwen3_5", "qwen3_5_text", "qwen3_5_moe",
                                            "qwen3_5_moe_text", kNext};

constexpr int64_t kPositions = 32768;  // the classes' default

// Defaults in which the classes differ.
struct Defaults {
  int64_t kv_heads, experts, chosen;
};

bool is_moe_type(const std::string& type) {
  return type.find("moe") != std::string::npos;
}

Defaults defaults_of(const std::string& type) {
  if (type == kNext) return {2, 512, 10};
  return is_moe_type(type) ? Defaults{2, 256, 8} : Defaults{4, 0, 0};
}

bool is_linear(const Settings& text, int64_t layer) {
  const std::vector<std::string> types = text.texts("layer_types");
  if (types.empty()) {
    const int64_t interval = text.integer_or("full_attention_interval", 4);
    if (interval < 1) text.refuse("full_attention_interval", "not positive");
    return (layer + 1) % interval != 0;
  }
  if (static_cast<size_t>(layer) >= types.size()) {
    text.refuse("layer_types", fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  const std::string& type = types[static_cast<size_t>(layer)];
  if (type != "linear_attention" && type != "full_attention") {
    text.not_supported("layer_types",
                       fmt::format("'{}' is not computed here", bridge::printable(type)));
  }
  return type == "linear_attention";
}

GroupedAttention full_attention_of(const Settings& text, const std::string& type) {
  GroupedAttention attention;
  attention.heads = text.integer("num_attention_heads");
  attention.kv_heads = text.integer_or("num_key_value_heads", defaults_of(type).kv_heads);
  attention.head_dim = text.integer_or("head_dim", 256);
  attention.qk_norm = true;
  attention.gated = text.flag_or("attn_output_gate", true);
  attention.rotary = hf_partial_rotary(text, attention.head_dim, 0.25, {.positions = kPositions});
  return attention;
}

DeltaAttention linear_attention_of(const Settings& text) {
  return {
      text.integer_or("linear_num_key_heads", 16), text.integer_or("linear_num_value_heads", 32),
      text.integer_or("linear_key_head_dim", 128), text.integer_or("linear_value_head_dim", 128),
      text.integer_or("linear_conv_kernel_dim", 4)};
}

// Types other than Qwen3-Next have experts in all layers or in none, whatever these settings say.
bool has_experts(const Settings& text, const std::string& type, int64_t layer) {
  if (type != kNext) return is_moe_type(type);
  return text.integer_or("num_experts", defaults_of(type).experts) != 0 &&
         qwen_has_experts(text, layer);
}

MlpConfig mlp_of(const Settings& text, const std::string& type, int64_t layer) {
  if (!has_experts(text, type, layer)) return DenseMlp{text.integer("intermediate_size"), false};
  MixtureOfExperts mlp;
  mlp.router.experts = text.integer_or("num_experts", defaults_of(type).experts);
  mlp.router.chosen = text.integer_or("num_experts_per_tok", defaults_of(type).chosen);
  mlp.router.normalized = type != kNext || text.flag_or("norm_topk_prob", true);
  mlp.width = text.integer_or("moe_intermediate_size", 512);
  mlp.shared_width = text.integer_or("shared_expert_intermediate_size", 512);
  mlp.shared_gated = true;
  return mlp;
}

LayerConfig layer_of(const Settings& text, const std::string& type, int64_t layer, bool linear) {
  LayerConfig out;
  if (linear) {
    out.attention = linear_attention_of(text);
  } else {
    out.attention = full_attention_of(text, type);
  }
  out.mlp = mlp_of(text, type, layer);
  return out;
}

void check_computed(const Settings& text, bool drop_mtp) {
  if (text.has("per_layer_config")) {
    text.not_supported("per_layer_config", "settings of single layers are not read here");
  }
  if (text.text_or("hidden_act", "silu") != "silu") {
    text.not_supported("hidden_act", "silu is the one that is computed here");
  }
  for (const std::string_view flag : {"attention_bias", "mtp_use_dedicated_embeddings"}) {
    if (drop_mtp && flag.starts_with("mtp_")) continue;
    if (text.flag_or(flag, false)) text.not_supported(flag, "not computed here");
  }
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  const std::optional<Settings> inner = config.section("text_config");
  const Settings& text = inner ? *inner : config;
  const std::string type = config.text_or("model_type", "");
  check_computed(text, drop_mtp);
  ModelConfig model;
  model.hidden = text.integer("hidden_size");
  model.vocab = text.integer("vocab_size");
  model.tied = config.flag_or("tie_word_embeddings", false);
  model.norm = {NormKind::kZeroCentred, text.real_or("rms_norm_eps", 1e-6)};
  const int64_t layers = hf_layer_count(text, "num_hidden_layers");
  for (int64_t layer = 0; layer < layers; ++layer) {
    model.layers.push_back(layer_of(text, type, layer, is_linear(text, layer)));
  }
  const int64_t depths = drop_mtp ? 0 : hf_layer_count(text, "mtp_num_hidden_layers", 0);
  if (depths > 1) {
    text.not_supported("mtp_num_hidden_layers",
                       "one depth is what these models are read with here");
  }
  model.mtp.assign(static_cast<size_t>(depths), layer_of(text, type, layers - 1, /*linear=*/false));
  model.vision = hf_vision_tower(config);
  bridge::with_context(text.where(), [&] { check(model); });  // messages name the section
  return model;
}

void settle_mtp(ModelConfig& model, bool has_depths) {
  if (!has_depths) model.mtp.clear();
  if (!has_depths || !model.mtp.empty()) return;
  // A depth's layer is like the last layer that is not linear.
  const auto full =
      std::find_if(model.layers.rbegin(), model.layers.rend(), [](const LayerConfig& layer) {
        return std::holds_alternative<GroupedAttention>(layer.attention);
      });
  if (full != model.layers.rend()) model.mtp.push_back(*full);
}

}  // namespace

constexpr HfArchitecture architectures::kQwen3_5 = {.model_types = kModelTypes,
                                                    .config = config_of,
                                                    .places = qwen3_5_places,
                                                    .settle_mtp = settle_mtp};

}  // namespace models
