// The canonical description of a model out of a Hugging Face config.json, as transformers understands it.
// Truth: transformers' configuration_*.py and modeling_*.py of llama, qwen2, qwen3, qwen3_moe, qwen3_5, qwen3_5_moe, mixtral,
// deepseek_v3, deepseek_v4; modeling_rope_utils.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

enum class HfFamily {
  kLlama,
  kQwen2,
  kQwen3,
  kQwen3Moe,
  kMixtral,
  kDeepseekV3,
  kDeepseekV4,
  kQwen3_5
};

// By model_type. kUnsupported for others, naming it.
HfFamily hf_family(const Settings& config);

// drop_mtp: as if it had no multi-token prediction, whatever it says of that.
// Errors: kBadInput "config.json: name: what", kUnsupported for what the forward pass does not compute.
ModelConfig hf_model_config(const Settings& config, bool drop_mtp = false);

// Of the families that have little in common with the others.
ModelConfig deepseek_v4_config(const Settings& config, bool drop_mtp);
ModelConfig qwen3_5_config(const Settings& config, bool drop_mtp);

// Runtimes pass over multi-token prediction that is in the checkpoint: DeepSeek-V4's where it is counted as none.
bool hf_passes_over_mtp(const Settings& config);

// A number of layers that lists may be made for. absent: kBadInput without it where the setting is absent.
int64_t hf_layer_count(const Settings& config, std::string_view name,
                       std::optional<int64_t> absent = std::nullopt);

}  // namespace models
