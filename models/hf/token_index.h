// The index of sparse latent attention in config.json, and which layers have experts, as
// DeepSeek-V3.2 says it and the models derived from it.
// Truth: transformers' configuration_deepseek_v32.py, modeling_deepseek_v32.py.
#pragma once

#include <cstdint>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// Latent attention with an index of its own. heads: the class's default of index_n_heads; layout:
// how the class turns the index's channels. Refuses queries that are not compressed, and an
// indexer_rope_interleave or a rope_interleave that the class does not read.
LatentAttention hf_with_index(const Settings& config, LatentAttention attention, int64_t heads,
                              RotaryLayout layout);

// True if mlp_layer_types, or without it first_k_dense_replace (3 if absent), gives the layer
// experts.
bool hf_has_experts(const Settings& config, int64_t layer);

}  // namespace models
