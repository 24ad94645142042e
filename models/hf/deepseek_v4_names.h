// Names of DeepSeek-V4's tensors, in three spellings: the release's, that of transformers' modules,
// and what transformers writes when it saves a model again (there `kv_norm` is cut to `norm`).
// Multi-token prediction also has older spellings: a depth's tensors in a layer after the last;
// eh_proj, which takes the embedding and then the hidden state, instead of e_proj and h_proj;
// final_layernorm.
// Truth: the sources that names.h lists.
#pragma once

#include <vector>

#include "models/hf/architecture.h"
#include "models/model/tensor_id.h"

namespace models {

std::vector<HfPlace> deepseek_v4_places(const HfModel& model, const TensorId& id);

std::vector<HfDepthStart> deepseek_v4_depth_starts(const HfModel& model);

}  // namespace models
