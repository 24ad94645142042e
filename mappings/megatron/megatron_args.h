// The configuration as Megatron-LM's arguments: the "args" Namespace of common.pt, which
// --use-checkpoint-args and the argument check of --load read.
// Truth in Megatron-LM:
//   - megatron/training/checkpointing.py (load_args_from_checkpoint, check_checkpoint_args)
//   - megatron/training/arguments.py (_add_network_size_args)
//   - megatron/training/argument_utils.py (core_transformer_config_from_args), which takes every
//     field of TransformerConfig that the arguments have
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mappings/expr/expr.h"

namespace mappings {

struct ArgsOptions {
  int64_t padded_vocab_size = 0;  // rows of the written embedding; 0: the provider's vocab_size
  std::string tokenizer_model;    // empty: not written
  bool local_spec = false;        // --spec local
  Json more = Json::object();     // Table::megatron_args, which count
};

// provider: fields as Binding::megatron_config returns them. The result is flat: integers, reals,
// text, booleans, null and lists of these, in a fixed order. Errors: kBadInput if a field that
// every loader needs is missing.
Json megatron_args(const Json& provider, const ArgsOptions& options);

// Why a provider field is not an argument of the same name; empty if it is one.
std::string why_no_argument(std::string_view field);

// The fields that the arguments leave out although no other argument expresses them: values that
// are not plain data, and an activation function that no argument names.
std::vector<std::string> fields_lost_to_args(const Json& provider);

}  // namespace mappings
