// The feed-forward part of one layer: down(activation(gate x) * up x) or, without a gate,
// down(activation(up x)); or the same of the experts that a router chooses, which may lie between
// two projections of their own (latent experts). Truth: mlp.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/forward/forward_state.h"
#include "models/model/model_config.h"
#include "models/weights/weights.h"

namespace models {

// x: [B, S, D], normed. Returns what the layer adds to the residual stream. state provides the
// tokens' numbers, and takes the losses of routers.
at::Tensor mlp(const MlpConfig& config, const SectionWeights& weights, const at::Tensor& x,
               ForwardState& state);

}  // namespace models
