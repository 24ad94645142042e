// What a configuration says of the model, as meanings that can be compared: fields of Megatron-Core's TransformerConfig
// (GPTModel's and Megatron-Bridge's own among them), each only where it counts.
//
//   1. Megatron-LM's arguments get the fields' names
//   2. what Megatron derives from null is filled in: kv_channels, num_query_groups, ffn_hidden_size, layer patterns
//   3. a field whose feature is off is left out: sizes of latent attention without multi_latent_attention, the
//      factor of RoPE scaling without it, what routes to experts where there are none
//   4. spellings of one meaning become one: 'gdn', layer patterns as numbers or lists, YaRN by a factor of 1
// A field that a statement does not mention is not in the result: nothing is known of it.
// Truth: megatron/core/transformer/transformer_config.py (defaults, __post_init__), megatron/training/arguments.py
// (core_transformer_config_from_args, validate_args), megatron/core/transformer/moe/moe_utils.py.
#pragma once

#include <optional>

#include "mappings/expr/expr.h"

namespace mappings {

// The plain data among Megatron-LM's arguments.
Json statement_of_arguments(const Json& args);

// What fields that are not there mean.
enum class Absent { kUnknown, kDefault };

// Fields of a provider: the model section of run_config.yaml, or Binding::megatron_config(), whose absent fields have
// the defaults of the class.
Json statement_of_provider(const Json& fields, Absent absent);

}  // namespace mappings
