#include "mappings/megatron/argument_names.h"

#include <string>

namespace mappings {
namespace {

// Arguments of older versions, whose parsers do not know the field's own name. Newer versions build
// the model from the field and may still hold the old argument beside it, which then has no effect:
// --use-checkpoint-args sets apply_layernorm_1p.
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

const Json* find(const Json& json, std::string_view name) {
  const Json::const_iterator it = json.find(name);
  return it == json.end() ? nullptr : &*it;
}

bool is_true(const Json& args, std::string_view name) {
  const Json* const value = find(args, name);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

void rename(Json& fields, std::string_view from, std::string_view to) {
  if (const Json* const value = find(fields, from)) fields[std::string(to)] = Json(*value);
}

void rename_unless_there(Json& fields, std::string_view from, std::string_view to) {
  const Json* const own = find(fields, to);
  if (own == nullptr || own->is_null()) rename(fields, from, to);
}

// --swiglu and similar flags state both the activation and whether the linear unit is gated.
void rename_activation(Json& fields) {
  const Json* const swiglu = find(fields, "swiglu");
  if (swiglu == nullptr) return;
  const bool quick = is_true(fields, "quick_geglu");
  fields["gated_linear_unit"] = is_true(fields, "swiglu") || quick;
  fields["activation_func"] = is_true(fields, "swiglu")         ? "silu"
                              : is_true(fields, "squared_relu") ? "squared_relu"
                              : quick                           ? "quick_gelu"
                                                                : "gelu";
}

}  // namespace

Json fields_of_arguments(const Json& args) {
  Json fields = args;
  for (const auto& [argument, field] : kRenamed) rename(fields, argument, field);
  for (const auto& [argument, field] : kOlderNames) rename_unless_there(fields, argument, field);
  rename_activation(fields);
  // num_query_groups has an effect only with this flag; without it, every head has its own keys.
  if (find(fields, "group_query_attention") != nullptr &&
      !is_true(fields, "group_query_attention")) {
    fields["num_query_groups"] = nullptr;
  }
  if (find(fields, "untie_embeddings_and_output_weights") != nullptr) {
    fields["share_embeddings_and_output_weights"] =
        !is_true(fields, "untie_embeddings_and_output_weights");
  }
  if (!is_true(fields, "multi_latent_attention")) {
    for (const auto& [argument, field] : kGroupedYarnNames)
      rename_unless_there(fields, argument, field);
  }
  return fields;
}

}  // namespace mappings
