// Writes run_config.yaml, the file from which Megatron-Bridge learns what a checkpoint contains.
// Truth: Megatron-Bridge training/config.py (ConfigContainer), training/checkpointing.py,
// training/model_load_save.py; the output was compared with files that Megatron-Bridge wrote.
#pragma once

#include <string>

#include "mappings/expr/expr.h"

namespace mappings {

struct RunConfigOptions {
  std::string hf_model_id;  // model.hf_model_id; empty: null
  // Empty: null, and Bridge takes the tokenizer/ folder beside the file.
  std::string tokenizer_model;
};

// provider: fields as Binding::megatron_config returns them. Deterministic.
std::string run_config_yaml(const Json& provider, const RunConfigOptions& options);

}  // namespace mappings
