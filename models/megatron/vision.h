// The vision tower of Megatron-Bridge's Qwen3.5 and Qwen3.6 models: a Megatron-Core transformer block of plain attention with
// a key and value head for each query head, between modules that are Bridge's own.
//
//   sizes    vision_config of the model section, which is transformers' class, and so are its defaults
//   keys     vision_model.X, and of a layer vision_model.decoder.layers.3.X, or decoder.layers.X with all layers stacked on
//            a first axis; no language_model. in front
//   qkv      rows of linear_qkv: of each head its query, its key, its value; the bias likewise
//   norms    part of the linear that follows (TransformerEngine's specification, which Bridge takes) or modules (the local one)
// Truth: Megatron-Bridge models/qwen_vl/modelling_qwen3_vl (vision_model.py, utils.py, transformer_config.py),
// qwen35_vl_provider.py; megatron/core/models/vision/vit_layer_specs.py, transformer/attention.py
// (get_query_key_value_tensors), transformer_block.py (sharded_state_dict).
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/megatron/layout.h"
#include "models/model/tensor_id.h"
#include "models/model/vision_tower.h"
#include "models/weights/settings.h"

namespace models {

// In front of all its keys.
constexpr std::string_view kMegatronVision = "vision_model.";

// model: the model section. nullopt: the model has no tower, or nothing says its sizes. Errors: kBadInput "run_config.yaml:
// model: vision_config: name: what", kUnsupported for towers whose tensors are others.
std::optional<VisionTower> megatron_vision_tower(const Settings& model);

// The ways; a checkpoint has one of them.
std::vector<MegatronPlace> megatron_vision_places(const VisionTower& tower, const TensorId& id);

}  // namespace models
