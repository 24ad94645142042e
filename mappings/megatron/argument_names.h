// Megatron-LM's arguments under the names and with the meanings of the fields of Megatron-Core's
// TransformerConfig, into which Megatron-LM itself turns them.
// Truth: megatron/training/arguments.py (core_transformer_config_from_args, validate_args).
#pragma once

#include <string_view>
#include <utility>

#include "mappings/expr/expr.h"

namespace mappings {

// GPTModel has its own fields for YaRN outside of latent attention.
constexpr std::pair<std::string_view, std::string_view> kGroupedYarnNames[] = {
    // of latent attention and of arguments, of GPTModel
    {"rotary_scaling_factor", "yarn_rotary_scaling_factor"},
    {"original_max_position_embeddings", "yarn_original_max_position_embeddings"},
    {"beta_fast", "yarn_beta_fast"},
    {"beta_slow", "yarn_beta_slow"},
    {"mscale", "yarn_mscale"},
    {"mscale_all_dim", "yarn_mscale_all_dim"},
};

// args: the plain data among the arguments, an object. The result has all of them under their own
// names too, except where an argument changes what another field means.
Json fields_of_arguments(const Json& args);

}  // namespace mappings
