// The vision towers of Qwen2.5-VL, Qwen3-VL, Qwen3.5 and Qwen3.6 as transformers reads them: the
// sizes in vision_config, with the class's defaults for absent ones, and the names of the canonical
// tensors.
//   attn.qkv   rows of all queries, of all keys, of all values; the bias likewise
// Truth: transformers' configuration_qwen3_5.py (Qwen3_5VisionConfig), modeling_qwen3_5.py
// (Qwen3_5VisionModel); configuration_qwen3_vl.py, modeling_qwen3_vl.py;
// configuration_qwen2_5_vl.py, modeling_qwen2_5_vl.py.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/hf/names.h"
#include "models/model/tensor_id.h"
#include "models/model/vision_tower.h"
#include "models/weights/settings.h"

namespace models {

// config: the whole config.json. nullopt: the model has no tower. Errors: kBadInput "config.json:
// vision_config: name: what".
std::optional<VisionTower> hf_vision_tower(const Settings& config);

// The same for Qwen3-VL's classes, whose tower has further mergers, and for Qwen2.5-VL's.
std::optional<VisionTower> hf_deepstack_vision_tower(const Settings& config);
std::optional<VisionTower> hf_gated_vision_tower(const Settings& config);

// True for names of tensors of a tower, whatever the configuration says.
bool is_hf_vision_name(std::string_view name);

// All places where the tensor may be stored; a checkpoint has one of them.
std::vector<HfPlace> hf_vision_places(const VisionTower& tower, const TensorId& id);

}  // namespace models
