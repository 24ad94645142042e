// Names of the tensors of Qwen3.5, Qwen3.6 and Qwen3-Next. Several canonical tensors share one
// stored tensor:
//   self_attn.q_proj           per head, rows of the query, then of its gate; without gates only
//                              the queries
//   linear_attn.in_proj_qkv    rows of all queries, of all keys, of all values; conv1d likewise
//   linear_attn.in_proj_qkvz   in Qwen3-Next, per key head, rows of its query, its key, its values
//                              and their z; in_proj_ba likewise with beta and alpha
//   mlp.experts.gate_up_proj   all experts on a first axis; or experts one by one
// Multi-token prediction: mtp.layers.0 is a layer; mtp.fc and its norms are beside it.
// Truth: the sources that names.h lists.
#pragma once

#include <vector>

#include "models/hf/architecture.h"
#include "models/model/tensor_id.h"

namespace models {

std::vector<HfPlace> qwen3_5_places(const HfModel& model, const TensorId& id);

}  // namespace models
