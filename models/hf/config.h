// The canonical description of a model out of a Hugging Face config.json, as transformers
// understands it. What the settings of an architecture mean is its descriptor's (architecture.h).
// Truth: transformers' configuration_*.py, modeling_*.py and modeling_rope_utils.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// drop_mtp: as if it had no multi-token prediction, whatever it says of that. Errors: kBadInput
// "config.json: name: what", kUnsupported for what the forward pass does not compute.
ModelConfig hf_model_config(const Settings& config, bool drop_mtp = false);

// Runtimes pass over multi-token prediction that is in the checkpoint.
bool hf_passes_over_mtp(const Settings& config);

// A number of layers that lists may be made for. absent: kBadInput without it where the setting is
// absent.
int64_t hf_layer_count(const Settings& config, std::string_view name,
                       std::optional<int64_t> absent = std::nullopt);

}  // namespace models
