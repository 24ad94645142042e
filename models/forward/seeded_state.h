// The residual stream that a layer reads when layers are compared one by one: numbers from a seed,
// the same for every model of a shape, in place of what the layers before would give.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "models/model/model_config.h"
#include "models/weights/weights.h"

namespace models {

// Returns what gives the input of a layer: [B, S, D], or [B, S, n, D] with n streams, uniform in
// [-1, 1) with 24 bits each, then rounded to the type of the computation. ids: [B, S]. The layer's
// number and the seed alone decide, so that any process makes the same.
std::function<at::Tensor(int64_t layer)> seeded_input(const ModelConfig& config,
                                                      const Compute& compute, const at::Tensor& ids,
                                                      uint64_t seed);

}  // namespace models
