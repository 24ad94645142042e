// The sections and why the file has them:
//   1. model: the provider with its fields; Megatron-Bridge needs nothing else to export
//   2. checkpoint: training from the checkpoint asks whether it holds optimizer and RNG states
//   3. tokenizer: where training finds the tokenizer
//   4. optimizer, logger: sections that Bridge's readers expect, with their defaults
// The file leaves out the sections that are null in the output of Bridge's own import (train,
// scheduler, dataset, ...) and the fields that have their default: a reader fills them in.
#include "mappings/megatron/run_config.h"

#include "mappings/megatron/yaml_text.h"

namespace mappings {
namespace {

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

}  // namespace

std::string run_config_yaml(const Json& provider, const RunConfigOptions& options) {
  Json model = provider;
  model["hf_model_id"] = text_or_null(options.hf_model_id);
  const Json top = {
      {"_target_", "megatron.bridge.training.config.ConfigContainer"},
      {"model", model},
      {"checkpoint",
       {{"_target_", "megatron.bridge.training.config.CheckpointConfig"},
        {"ckpt_format", "torch_dist"},
        {"save_optim", false},
        {"save_rng", false},
        {"fully_parallel_save", true},
        {"dist_ckpt_optim_fully_reshardable", true}}},
      {"tokenizer",
       {{"_target_", "megatron.bridge.training.tokenizers.config.TokenizerConfig"},
        {"tokenizer_type", "HuggingFaceTokenizer"},
        {"tokenizer_model", text_or_null(options.tokenizer_model)}}},
      {"optimizer",
       {{"_target_", "megatron.core.optimizer.optimizer_config.OptimizerConfig"},
        {"use_distributed_optimizer", false}}},
      {"logger", {{"_target_", "megatron.bridge.training.config.LoggerConfig"}}},
  };
  return yaml_text(top);
}

}  // namespace mappings
