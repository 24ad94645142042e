// Qwen3.5, Qwen3.6 and Qwen3-Next. What is stored together:
//   self_attn.q_proj           of each head, rows of the query, then of its gate; without gates
//                              the queries alone
//   linear_attn.in_proj_qkv    rows of all queries, of all keys, of all values; conv1d likewise
//   linear_attn.in_proj_qkvz   of Qwen3-Next, of each key head, rows of its query, its key, its
//                              values and their z; in_proj_ba likewise of beta and alpha
//   mlp.experts.gate_up_proj   with all experts on a first axis; or experts one by one
// Multi-token prediction: mtp.layers.0 is a layer, mtp.fc and its norms are beside it.
#pragma once

#include <vector>

#include "models/hf/architecture.h"
#include "models/model/tensor_id.h"

namespace models {

std::vector<HfPlace> qwen3_5_places(const HfModel& model, const TensorId& id);

}  // namespace models
