// Megatron-Core's HybridModel with attention and MLPs alone. Each of them is a layer of its own (a
// block here), and hybrid_layer_pattern says which: '*' attention, '-' a dense MLP, 'E' a mixture
// of experts. A pair of them computes what a layer of a GPTModel does.
//   keys   decoder.layers.6.self_attention.X and decoder.layers.7.mlp.X of the fourth pair,
//          decoder.final_norm
// Truth: megatron/core/models/hybrid/hybrid_layer_allocation.py, hybrid_block.py, hybrid_model.py
// (0.19.2).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "models/weights/settings.h"

namespace models {

// For each pair of blocks, whether its MLP is a mixture of experts; nullopt: the model is a
// GPTModel. Errors: kUnsupported for blocks that do not come in such pairs, and for settings that
// have another effect in a HybridModel.
std::optional<std::vector<bool>> hybrid_layers(const Settings& model);

// The number of the block that has a tensor of a layer. inner: the key after the layer.
int64_t hybrid_block(int64_t layer, std::string_view inner);

}  // namespace models
