// The canonical description of a model out of a Hugging Face config.json, as transformers understands it.
// Truth: transformers' configuration_*.py and modeling_*.py of llama, qwen2, qwen3, qwen3_moe, mixtral, deepseek_v3;
// modeling_rope_utils.py.
#pragma once

#include "models/model_config.h"
#include "models/settings.h"

namespace models {

enum class HfFamily { kLlama, kQwen2, kQwen3, kQwen3Moe, kMixtral, kDeepseekV3 };

// By model_type. kUnsupported for others, naming it.
HfFamily hf_family(const Settings& config);

// Errors: kBadInput "config.json: name: what", kUnsupported for what the forward pass does not compute.
ModelConfig hf_model_config(const Settings& config);

}  // namespace models
