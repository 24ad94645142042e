// The canonical tensors of a vision tower. Both weight views deliver them as they do those of the
// text model, so that they can be compared one by one. The forward pass asks for none of them.
//
//   "vision.patch_embedding", "vision.places", "vision.merger.up"   of the tower
//   "vision.blocks.3.q", "vision.blocks.3.mlp_norm_bias"            of a block
//   "vision.deepstack.0.merger.norm"                                of a further merger
//
// Truth: transformers' modeling_qwen3_5.py (Qwen3_5VisionModel), modeling_qwen3_vl.py
// (Qwen3VLVisionModel), modeling_qwen2_5_vl.py (Qwen2_5_VisionTransformerPretrainedModel).
#pragma once

#include "models/model/tensor_id.h"
#include "models/model/vision_tower.h"

namespace models {

inline bool is_vision(const TensorId& id) {
  return id.section == Section::kVision || id.section == Section::kVisionBlock ||
         id.section == Section::kVisionMerger;
}

// Visits every tensor that the tower must have, with its shape, from the pixels to the text model.
void for_each_vision_tensor(const VisionTower& tower, const TensorVisitor& visit);

}  // namespace models
