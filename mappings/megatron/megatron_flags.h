// Lists the settings that Megatron-LM does not take from a checkpoint's arguments under
// --use-checkpoint-args although the model differs without them: as flags of its command line, and
// as fields of Megatron-Bridge's provider.
//
//   flags      in the order of the list in the .cpp; without those whose value is the parser's
//              default
//   no_flag    arguments that decide what is computed but that no flag of Megatron-LM main sets;
//              users set them in code
// Truth: Megatron-LM megatron/training/checkpointing.py (load_args_from_checkpoint: every _set_arg
// is taken), arguments.py, argument_utils.py (YaRN).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mappings/expr/expr.h"

namespace mappings {

struct MegatronFlags {
  std::vector<std::string> flags;  // "--norm-epsilon 1e-06", "--qk-layernorm"
  std::vector<std::pair<std::string, std::string>> no_flag;   // argument, value
  std::vector<std::pair<std::string, std::string>> provider;  // field, value as Python writes it
};

// args: the arguments of a checkpoint by Megatron-LM's names. An absent or null argument has its
// default.
MegatronFlags megatron_flags(const Json& args);

}  // namespace mappings
