// The names of Nemotron-H and Nemotron-3. Every layer is one block, a norm and a mixer, whatever
// the mixer is:
//   backbone.layers.3.norm.weight, backbone.layers.3.mixer.in_proj.weight
//   in_proj    rows of z, x, b, c and the time steps; conv1d: channels of x, b and c
//   experts    separate tensors, or one tensor with all experts as in the modules of transformers 5
//   depth d    blocks d * n .. d * n + n - 1 below "mtp.layers."; the first of them has the frame's
//              norms and projection, the last its final norm
// Truth: transformers' modeling_nemotron_h.py and conversion_mapping.py; the releases' own
// modeling_nemotron_h.py and Megatron-Bridge's nemotron_h_bridge.py for multi-token prediction,
// which transformers passes over.
#pragma once

#include <vector>

#include "models/hf/architecture.h"

namespace models {

std::vector<HfPlace> nemotron_h_places(const HfModel& model, const TensorId& id);

}  // namespace models
