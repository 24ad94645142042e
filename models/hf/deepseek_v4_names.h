// DeepSeek-V4: the release's names, those of transformers' modules, and what transformers saves
// again, where `kv_norm` is cut short. Of multi-token prediction also the older names: a depth's
// tensors in a layer after the last; eh_proj, which takes the embedding and then the hidden state,
// for e_proj and h_proj; final_layernorm.
#pragma once

#include <vector>

#include "models/hf/architecture.h"
#include "models/model/tensor_id.h"

namespace models {

std::vector<HfPlace> deepseek_v4_places(const HfModel& model, const TensorId& id);

std::vector<HfDepthStart> deepseek_v4_depth_starts(const HfModel& model);

}  // namespace models
