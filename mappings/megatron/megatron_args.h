// The configuration as Megatron-LM's arguments: the "args" Namespace of common.pt, which
// --use-checkpoint-args and the argument check of --load read.
// Truth: Megatron-LM megatron/training/checkpointing.py (load_args_from_checkpoint,
// check_checkpoint_args) and megatron/training/arguments.py.
#pragma once

#include <cstdint>
#include <string>

#include "mappings/expr/expr.h"

namespace mappings {

struct ArgsOptions {
  int64_t padded_vocab_size = 0;  // rows of the written embedding; 0: the provider's vocab_size
  std::string tokenizer_model;    // empty: not written
  bool local_spec = false;        // --spec local
};

// provider: fields as Binding::megatron_config gives them. The result is flat: integers, reals,
// text, booleans, null and lists of these, in a fixed order. Errors: kBadInput when a field that
// every loader asks for is missing.
Json megatron_args(const Json& provider, const ArgsOptions& options);

}  // namespace mappings
