// Reads the canonical description of a model from a Hugging Face config.json, as transformers
// understands it. The descriptor of an architecture (architecture.h) knows what its settings mean.
// Truth: transformers' configuration_*.py, modeling_*.py and modeling_rope_utils.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// drop_mtp: ignore multi-token prediction, whatever config.json says of it. Errors: kBadInput
// "config.json: name: what", kUnsupported for what the forward pass does not compute.
ModelConfig hf_model_config(const Settings& config, bool drop_mtp = false);

// True if runtimes ignore the multi-token prediction that a checkpoint with this config.json has.
bool hf_passes_over_mtp(const Settings& config);

// Reads a number of layers and refuses one that no list should be made for (kMostLayers). absent:
// the default; without one, an absent setting is kBadInput.
int64_t hf_layer_count(const Settings& config, std::string_view name,
                       std::optional<int64_t> absent = std::nullopt);

}  // namespace models
