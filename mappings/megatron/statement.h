// States what a configuration says about the model, in a form that can be compared: fields of
// Megatron-Core's TransformerConfig (with GPTModel's and Megatron-Bridge's own fields), each only
// where it has an effect.
//
//   1. Give Megatron-LM's arguments the names of the fields (argument_names.h), and a HybridModel's
//      layers the form of GPTModel's (hybrid_layout.h).
//   2. Fill in what Megatron derives from null: kv_channels, num_query_groups, ffn_hidden_size,
//      layer patterns.
//   3. Leave out a field whose feature is off: sizes of latent attention without
//      multi_latent_attention, the factor of RoPE scaling without it, routing fields without
//      experts.
//   4. Unify spellings of one meaning: 'gdn', layer patterns as numbers or lists, YaRN by a factor
//      of 1.
// A field that is missing in the result is unknown.
// Truth: megatron/core/transformer/transformer_config.py (defaults, __post_init__),
// megatron/training/arguments.py (core_transformer_config_from_args, validate_args),
// megatron/core/transformer/moe/moe_utils.py.
#pragma once

#include <optional>

#include "mappings/expr/expr.h"

namespace mappings {

// Uses the plain data among Megatron-LM's arguments.
Json statement_of_arguments(const Json& args);

// What an absent field means.
enum class Absent { kUnknown, kDefault };

// provider: fields from the model section of run_config.yaml or from Binding::megatron_config(),
// whose absent fields have the defaults of the class. Errors of both: kUnsupported for a
// HybridModel that no GPTModel equals.
Json statement_of_provider(const Json& provider, Absent absent);

}  // namespace mappings
