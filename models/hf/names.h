// Names of Hugging Face checkpoints, by the descriptor of an architecture: where the canonical
// tensors may be stored, and what else a checkpoint may hold. The end of the file has the pieces
// from which descriptors make their lists of names.
//   - Released checkpoints keep DeepSeek-V3's multi-token prediction depths as further layers, and
//     those of DeepSeek-V4 and Qwen3.5 as mtp.K and mtp.layers.K. NeMo Automodel also reads
//     DeepSeek-V4's as further layers, each tensor with or without `model.` in front.
//   - Experts are separate tensors or, in the modules of transformers 5, rows of one tensor with
//     all experts on its first axis, gate rows before up rows.
// Truth: the released checkpoints' indexes; transformers' modeling_*.py and conversion_mapping.py;
// NeMo Automodel deepseek_v4/state_dict_adapter.py and mtp.py of its pull request 2191.
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
  // transposed_experts: as in HfModel.
  HfNames(const HfArchitecture& architecture, const ModelConfig& config, std::string prefix,
          bool transposed_experts = false);

  // All places where the tensor may be stored, never empty; a checkpoint has one of them.
  std::vector<HfPlace> places(const TensorId& id) const;
  // True for tensors that a checkpoint may hold and the model does not use: copies of the embedding
  // and of the output layer, tables of rotary frequencies.
  bool is_unused(std::string_view name) const;
  // True for tensors of a multi-token prediction depth, however many depths the configuration has.
  bool is_mtp(std::string_view name) const;
  // The tensor that an unused tensor is a copy of; nullopt if it is not a copy.
  std::optional<TensorId> copy_of(std::string_view name) const;

 private:
  // A multi-token prediction depth and a name inside it.
  struct InDepth {
    size_t depth;
    std::string_view inner;
  };

  std::optional<InDepth> in_depth(std::string_view name) const;

  const HfArchitecture& architecture_;
  HfModel model_;
};

// The only name of a tensor.
struct HfName {
  Role role;
  std::string_view name;
};

// The name of the role in the list; empty if the list has none.
std::string_view hf_name(std::span<const HfName> names, Role role);

// The full name of a role of the frame around a multi-token prediction depth's layer in Qwen3-Next
// and in what follows it; empty for other roles. The layer itself lies below "mtp.layers.".
std::string_view hf_mtp_frame_name(Role role);

// Where a tensor of an expert lies in a layer that holds all of them in one tensor, as the modules
// of transformers 5 do; nullopt: the role is none of an expert. layer: what its names begin with.
std::optional<HfPlace> hf_packed_expert(const HfModel& model, const TensorId& id,
                                        const std::string& layer);

// Throws kInternal, for a tensor that no descriptor should be asked for.
[[noreturn]] void no_hf_name(const TensorId& id);

// The gate or up rows of a tensor that holds both.
inline RowPattern gate_or_up(int64_t width, bool up) {
  return {width, up ? width : 0, width, width, 2 * width};
}

}  // namespace models
