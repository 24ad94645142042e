// run_config.yaml, the file by which Megatron-Bridge knows what a checkpoint is.
// Truth: Megatron-Bridge training/config.py (ConfigContainer), training/checkpointing.py,
// training/model_load_save.py; compared with files that Megatron-Bridge wrote.
#pragma once

#include <string>

#include "mappings/expr/expr.h"

namespace mappings {

struct RunConfigOptions {
  std::string hf_model_id;  // model.hf_model_id; empty: null
  std::string
      tokenizer_model;  // empty: null, and Bridge takes the tokenizer/ folder beside the file
};

// provider: fields as Binding::megatron_config gives them. Deterministic.
std::string run_config_yaml(const Json& provider, const RunConfigOptions& options);

}  // namespace mappings
