// Names of Hugging Face checkpoints, by an architecture's descriptor: where the canonical tensors
// may be stored, and what a checkpoint may have beside them. Pieces for the descriptors' own lists
// of names are below.
//   - Released checkpoints keep DeepSeek-V3's multi-token prediction depths as further layers, those of DeepSeek-V4 and
//     Qwen3.5 as mtp.K and mtp.layers.K. NeMo Automodel reads DeepSeek-V4's as further layers too, with and without `model.`,
//     every tensor for itself.
//   - Experts are tensors of their own, or rows of one with all experts on its first axis, gate rows before up rows.
// Truth: the released checkpoints' indexes; transformers' modeling_*.py and conversion_mapping.py;
// NeMo Automodel deepseek_v4/state_dict_adapter.py and, of its pull request 2191, mtp.py.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/hf/architecture.h"
#include "models/model/tensor_id.h"

namespace models {

class HfNames {
 public:
  HfNames(const HfArchitecture& architecture, const ModelConfig& config, std::string prefix);

  // The ways; a checkpoint has one of them. Never empty.
  std::vector<HfPlace> places(const TensorId& id) const;
  // Of tensors that a checkpoint may have and the model does not use: copies of the embedding and
  // the output layer, tables of rotary frequencies.
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

  std::optional<InDepth> in_depth(std::string_view name) const;

  const HfArchitecture& architecture_;
  HfModel model_;
};

// The one name of a tensor.
struct HfName {
  Role role;
  std::string_view name;
};

// Empty where the list has none.
std::string_view hf_name(std::span<const HfName> names, Role role);

// For a tensor of which no descriptor should be asked (kInternal).
[[noreturn]] void no_hf_name(const TensorId& id);

// Gate or up rows of a tensor that has both.
inline RowPattern gate_or_up(int64_t width, bool up) {
  return {width, up ? width : 0, width, width, 2 * width};
}

}  // namespace models
