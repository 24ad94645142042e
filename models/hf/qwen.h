// Settings that several of Qwen's classes read alike.
// Truth: transformers' configuration_qwen2.py, configuration_qwen3.py, configuration_qwen3_moe.py,
// configuration_qwen3_next.py.
#pragma once

#include <cstdint>

#include "models/weights/settings.h"

namespace models {

// Tokens that a query of a sliding layer sees; 0: no layer slides. null says none, absence says the
// class's own.
int64_t qwen_window(const Settings& config);

// The same of a layer, which layer_types names where there is one, else max_window_layers: Qwen2
// and Qwen3.
int64_t qwen_window_of(const Settings& config, int64_t layer);

// By mlp_only_layers and decoder_sparse_step.
bool qwen_has_experts(const Settings& config, int64_t layer);

}  // namespace models
