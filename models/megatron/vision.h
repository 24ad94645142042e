// The vision tower of Megatron-Bridge's Qwen3-VL, Qwen3.5 and Qwen3.6 models: a Megatron-Core
// transformer block with plain attention (one key and value head per query head) between Bridge's
// own modules. That of its Qwen2.5-VL is transformers' own (gated_tower.h).
//
//   sizes    vision_config of the model section, which is transformers' class with its defaults
//   keys     vision_model.X; of a layer vision_model.decoder.layers.3.X, or decoder.layers.X with
//            all layers stacked on a first axis; there is no prefix language_model.
//            Qwen3-VL's further mergers: vision_model.decoder.deepstack_merger_list.0.X, never
//            stacked
//   qkv      rows of linear_qkv: of each head its query, its key, its value; the bias likewise
//   norms    part of the linear that follows (TransformerEngine's specification, which Bridge
//            takes) or modules (the local one)
//
// Truth: Megatron-Bridge models/qwen_vl/modelling_qwen3_vl (vision_model.py, utils.py,
// transformer_config.py), qwen3_vl_provider.py, qwen35_vl_provider.py;
// megatron/core/models/vision/vit_layer_specs.py, transformer/attention.py
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

// The prefixes of all keys of a tower: that of Megatron-Core's modules, and that of transformers'.
constexpr std::string_view kMegatronVision = "vision_model.";
constexpr std::string_view kGatedVision = "visual.";

// model: the model section. nullopt: the model has no tower, or no setting gives its sizes. Errors:
// kBadInput "run_config.yaml: model: vision_config: name: what", kUnsupported for towers with other
// tensors.
std::optional<VisionTower> megatron_vision_tower(const Settings& model);

// All places where the tensor may be stored; a checkpoint has one of them.
std::vector<MegatronPlace> megatron_vision_places(const VisionTower& tower, const TensorId& id);

}  // namespace models
