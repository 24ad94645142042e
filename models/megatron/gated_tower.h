// The vision tower of Megatron-Bridge's Qwen2.5-VL, which holds transformers' modules as they are:
// visual.X, of a block visual.blocks.3.X, never stacked; attn.qkv has the rows of all queries, of
// all keys, of all values.
// Truth: Megatron-Bridge models/qwen_vl/modeling_qwen25_vl.py; transformers' modeling_qwen2_5_vl.py
// (Qwen2_5_VisionTransformerPretrainedModel).
#pragma once

#include <vector>

#include "models/megatron/layout.h"
#include "models/model/tensor_id.h"
#include "models/model/vision_tower.h"

namespace models {

// The place of the tensor, below visual. or its block; empty if the tower has no such tensor.
std::vector<MegatronPlace> gated_tower_places(const VisionTower& tower, const TensorId& id);

}  // namespace models
