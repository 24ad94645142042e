// Settings that several of Qwen's classes read in the same way.
// Truth: transformers' configuration_qwen2.py, configuration_qwen3.py, configuration_qwen3_moe.py,
// configuration_qwen3_next.py.
#pragma once

#include <cstdint>

#include "models/weights/settings.h"

namespace models {

// The number of tokens that a query of a sliding layer sees; 0: no layer slides. A null setting
// means no window, an absent one the class's default.
int64_t qwen_window(const Settings& config);

// The window of one layer of Qwen2 and Qwen3, by layer_types if present, else by max_window_layers.
int64_t qwen_window_of(const Settings& config, int64_t layer);

// True if mlp_only_layers and decoder_sparse_step give the layer experts.
bool qwen_has_experts(const Settings& config, int64_t layer);

}  // namespace models
