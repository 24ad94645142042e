// What Hugging Face checkpoints call the canonical tensors, and which rows of a stored tensor they are. A family of models has
// one list of names, with several spellings where its checkpoints have them.
//   - Released checkpoints keep DeepSeek-V3's multi-token prediction depths as further layers, those of DeepSeek-V4 and
//     Qwen3.5 as mtp.K and mtp.layers.K. NeMo Automodel reads DeepSeek-V4's as further layers too, with and without `model.`,
//     every tensor for itself.
//   - Experts are tensors of their own, or rows of one with all experts on its first axis, gate rows before up rows.
// Truth: the released checkpoints' indexes; transformers' modeling_*.py and conversion_mapping.py; NeMo Automodel
// deepseek_v4/state_dict_adapter.py and, of its pull request 2191, mtp.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/hf/config.h"
#include "models/model/tensor_id.h"
#include "models/weights/row_pattern.h"

namespace models {

// Columns of a stored matrix that has others beside them.
struct HfColumns {
  int64_t first = 0;
  int64_t count = 0;  // 0: all that there are
  int64_t total = 0;
};

// One way in which a canonical tensor may be stored.
struct HfPlace {
  std::string name;
  bool expert_axis = false;  // the expert's number is an index into a first axis
  RowPattern rows = {};
  HfColumns columns = {};
};

class HfNames {
 public:
  // prefix: what is in front of the names of the text model, "model.language_model.", "model." or "".
  HfNames(HfFamily family, const ModelConfig& config, std::string prefix);

  // The ways; a checkpoint has one of them. Never empty.
  std::vector<HfPlace> places(const TensorId& id) const;
  // Of tensors that a checkpoint may have and the model does not use: copies of the embedding and the output layer, tables
  // of rotary frequencies.
  bool is_unused(std::string_view name) const;
  // Of a multi-token prediction depth, whatever the configuration counts.
  bool is_mtp(std::string_view name) const;
  // What an unused tensor is a copy of; nullopt: of nothing.
  std::optional<TensorId> copy_of(std::string_view name) const;

 private:
  // A multi-token prediction depth, and a name in it.
  struct InDepth {
    size_t depth;
    std::string_view inner;
  };

  const LayerConfig& layer(const TensorId& id) const;
  std::optional<InDepth> in_depth(std::string_view name) const;
  std::vector<HfPlace> plain_places(const TensorId& id) const;
  std::vector<HfPlace> deepseek_v4_places(const TensorId& id) const;
  std::vector<HfPlace> deepseek_v4_layer_places(const TensorId& id,
                                                const std::string& prefix) const;
  std::vector<HfPlace> qwen3_5_places(const TensorId& id) const;

  HfFamily family_;
  const ModelConfig& config_;
  std::string prefix_;
};

// Gate or up rows of a tensor that has both.
inline RowPattern gate_or_up(int64_t width, bool up) {
  return {width, up ? width : 0, width, width, 2 * width};
}

}  // namespace models
