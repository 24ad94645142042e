// The arguments that Megatron-LM stores in a checkpoint's common state, as the settings of a
// TransformerConfig:
//   1. plain data with the field's name keeps it
//   2. some arguments have another name than the field, or the inverse meaning; the field's own
//      name wins over the name that older versions gave it
//   3. num_query_groups has an effect only with group_query_attention
// Truth: megatron/training/arguments.py (core_transformer_config_from_args), gpt_builders.py.
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/pickle/plain_data.h"
#include "models/megatron/config.h"

namespace models {
namespace {

using bridge::PickleNode;
using Json = Settings::Json;

// Arguments of older versions. Newer versions build the model from the field itself, and may still
// hold an old argument that has no effect: --use-checkpoint-args sets apply_layernorm_1p.
constexpr std::pair<std::string_view, std::string_view> kOlderNames[] = {
    // argument, field
    {"norm_epsilon", "layernorm_epsilon"},
    {"apply_layernorm_1p", "layernorm_zero_centered_gamma"},
};

constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {
    // argument, field
    {"num_experts", "num_moe_experts"},
    {"use_rope_scaling", "rope_scaling"},
    {"rotary_seq_len_interpolation_factor", "seq_len_interpolation_factor"},
};

// GPTModel has its own fields for YaRN outside of latent attention.
constexpr std::pair<std::string_view, std::string_view> kGroupedYarn[] = {
    {"rotary_scaling_factor", "yarn_rotary_scaling_factor"},
    {"mscale", "yarn_mscale"},
    {"mscale_all_dim", "yarn_mscale_all_dim"},
};

bool is_true(const Json& arguments, std::string_view name) {
  const auto found = arguments.find(name);
  return found != arguments.end() && found->is_boolean() && found->get<bool>();
}

void rename(Json& out, std::string_view from, std::string_view to) {
  const auto found = out.find(from);
  if (found != out.end()) out[std::string(to)] = Json(*found);
}

// The flags of activation functions exclude each other. GELU, which the class has without them, is
// fused where bias_gelu_fusion says so.
void read_activation(Json& out) {
  if (is_true(out, "swiglu")) {
    out["gated_linear_unit"] = true;
    out["activation_func"] = {{"_target_", "torch.nn.functional.silu"}};
  } else if (is_true(out, "squared_relu")) {
    out["activation_func"] = {{"_target_", "megatron.core.activations.squared_relu"}};
  } else if (is_true(out, "quick_geglu")) {
    out["gated_linear_unit"] = true;
    out["activation_func"] = {{"_target_", std::string(kQuickGelu)}};
  } else {
    rename(out, "bias_gelu_fusion", "bias_activation_fusion");
  }
}

}  // namespace

Settings megatron_settings(const PickleNode& args) {
  Json values = bridge::with_context("common state", [&] {
    Json out = bridge::plain_attributes(args, Settings::kMostSettings);
    for (const auto& [argument, field] : kOlderNames) {
      if (!out.contains(field)) rename(out, argument, field);
    }
    for (const auto& [argument, field] : kRenamed) rename(out, argument, field);
    read_activation(out);
    if (!is_true(out, "group_query_attention")) out["num_query_groups"] = nullptr;
    out["share_embeddings_and_output_weights"] =
        !is_true(out, "untie_embeddings_and_output_weights");
    if (!out.contains("vocab_size") || out["vocab_size"].is_null()) {
      rename(out, "padded_vocab_size", "vocab_size");
    }
    if (!is_true(out, "multi_latent_attention")) {
      for (const auto& [argument, field] : kGroupedYarn) rename(out, argument, field);
    }
    return out;
  });
  return Settings("common state: args", std::move(values));
}

}  // namespace models
