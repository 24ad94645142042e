// What the weights of two forward passes that run side by side (paired_weights.h) need at once.
#pragma once

#include <cstdint>
#include <optional>

#include "models/forward/forward.h"
#include "models/weights/weights.h"

namespace models {

// The elements of the largest tensor, or block of a large one, that such passes read at once.
int64_t most_elements(const ModelConfig& config, const std::optional<LayerRange>& layers = {});

// Bytes of the largest tensor, or block of a large one, that is read at once: as each side gives
// it, and in fp32 for one of the passes; of a quantized one also its values before they are
// rounded. The embedding, the output layer and a vision tower are read in blocks. Reads a row of
// one tensor of each role.
int64_t pair_bytes(Weights& a, Weights& b, const std::optional<LayerRange>& layers = {});

}  // namespace models
