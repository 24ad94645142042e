// The arguments that Megatron-LM puts into a checkpoint's common state, as the settings of a TransformerConfig:
//   1. what is plain data and has the field's name keeps it
//   2. some arguments have another name than the field, or say it the other way round
//   3. num_query_groups counts only with group_query_attention
// Truth: megatron/training/arguments.py (core_transformer_config_from_args), gpt_builders.py.
#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/pickle/pickle.h"
#include "models/megatron/config.h"
#include "models/weights/expansion_limit.h"

namespace models {
namespace {

using bridge::PickleNode;
using Json = Settings::Json;

constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {
    // argument, field
    {"norm_epsilon", "layernorm_epsilon"},
    {"apply_layernorm_1p", "layernorm_zero_centered_gamma"},
    {"num_experts", "num_moe_experts"},
    {"use_rope_scaling", "rope_scaling"},
    {"rotary_seq_len_interpolation_factor", "seq_len_interpolation_factor"},
};

// GPTModel has fields of its own for YaRN outside of latent attention.
constexpr std::pair<std::string_view, std::string_view> kGroupedYarn[] = {
    {"rotary_scaling_factor", "yarn_rotary_scaling_factor"},
    {"mscale", "yarn_mscale"},
    {"mscale_all_dim", "yarn_mscale_all_dim"},
};

// nullopt for what is no plain datum: enumerations, functions, types.
std::optional<Json> plain(const PickleNode& node, ExpansionLimit& limit) {
  limit.add(node.kind == PickleNode::Kind::kString ? node.text.size() : 0);
  switch (node.kind) {
    case PickleNode::Kind::kNone:
      return Json();
    case PickleNode::Kind::kBool:
      return Json(node.boolean);
    case PickleNode::Kind::kInt:
      return Json(node.integer);
    case PickleNode::Kind::kReal:
      return Json(node.real);
    case PickleNode::Kind::kString:
      return Json(node.text);
    case PickleNode::Kind::kList:
    case PickleNode::Kind::kTuple: {
      Json list = Json::array();
      for (const bridge::PickleValue& item : node.items) {
        std::optional<Json> value = plain(*item, limit);
        if (!value) return std::nullopt;
        list.push_back(*std::move(value));
      }
      return list;
    }
    default:
      return std::nullopt;
  }
}

// A Namespace is an object whose state is a dict.
Json plain_arguments(const PickleNode& args) {
  Json out = Json::object();
  const PickleNode* state = &args;
  if (args.kind == PickleNode::Kind::kObject && args.items.size() > 2) state = args.items[2].get();
  if (state->kind != PickleNode::Kind::kDict) bridge::bad_input("args are no Namespace");
  if (state->items.size() / 2 > Settings::kMostSettings) bridge::bad_input("too many args");
  ExpansionLimit limit;
  for (size_t i = 0; i + 1 < state->items.size(); i += 2) {
    const PickleNode& key = *state->items[i];
    if (key.kind != PickleNode::Kind::kString) continue;
    if (std::optional<Json> value = plain(*state->items[i + 1], limit)) {
      out[key.text] = *std::move(value);
    }
  }
  return out;
}

bool is_true(const Json& arguments, std::string_view name) {
  const auto found = arguments.find(name);
  return found != arguments.end() && found->is_boolean() && found->get<bool>();
}

void rename(Json& out, std::string_view from, std::string_view to) {
  const auto found = out.find(from);
  if (found != out.end()) out[std::string(to)] = Json(*found);
}

}  // namespace

Settings megatron_settings(const PickleNode& args) {
  Json values = bridge::with_context("common state", [&] {
    Json out = plain_arguments(args);
    for (const auto& [argument, field] : kRenamed) rename(out, argument, field);
    if (is_true(out, "swiglu")) {
      out["gated_linear_unit"] = true;
      out["activation_func"] = {{"_target_", "torch.nn.functional.silu"}};
    }
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
