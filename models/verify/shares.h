// Which part of a comparison each of several processes does.
//
//   1. The decoder layers are divided into contiguous blocks of about the same number of weights,
//      in the order of the ranks. A rank has a layer as long as there are any: the last ones may
//      have none.
//   2. The first rank also has the embedding, a vision tower and tensors that a side holds twice,
//      the last one the last norm, multi-token prediction and the output layer.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/forward/forward.h"
#include "models/model/model_config.h"

namespace models {

// weights: of each layer. before, after: of what the first and the last rank also have. Returns the
// blocks of `count` ranks, which follow each other from layer `first` on.
std::vector<LayerRange> divide_layers(const std::vector<int64_t>& weights, int64_t first,
                                      int64_t before, int64_t after, int count);

// The part of one of `count` processes in the comparison of a and b. layers: only these are
// compared, and nothing besides them.
LayerRange share_of(const ModelConfig& a, const ModelConfig& b,
                    const std::optional<LayerRange>& layers, int rank, int count);

}  // namespace models
