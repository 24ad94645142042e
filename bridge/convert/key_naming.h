// From logical tensor names to the keys of a torch_dist checkpoint and back.
//
// A logical name has an explicit layer index ("decoder.layers.3.mlp.linear_fc1.weight"). On disk it is
//   per-layer   decoder.layers.3.mlp.linear_fc1.weight              [rows, ...]
//   stacked     decoder.layers.mlp.linear_fc1.weight                [L, rows, ...], layer l at offset l
//   singleton   …linear_fc1.weight_w and …linear_fc1.weight_v       gate and up rows as keys of their own
// with an optional prefix ("language_model."). Only a family whose Megatron prefix ends in ".{l}" can be
// stacked; MTP depths never are. This module adds axes, objects and old spellings; it never touches bytes.
// Truth: megatron/core/transformer/transformer_block.py (sharded_state_dict), mlp.py (swiglu factory).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/tensor_reader.h"
#include "bridge/io/torch_dist.h"
#include "mappings/table.h"

namespace bridge {

struct KeyStyle {
  bool per_layer = false;
  std::string prefix;
};

// Where a logical tensor is written: the key and, when stacked, which of how many.
struct WrittenKey {
  std::string key;
  bool stacked = false;
};
WrittenKey written_key(const mappings::LogicalTensor& tensor, const std::string& name,
                       const KeyStyle& style);

// The key of the object that holds a module's extra state.
std::string extra_state_key(const mappings::ExtraStateModule& module, const KeyStyle& style);

// A logical tensor found in a checkpoint.
struct FoundTensor {
  std::vector<RawStretch> stretches;
  Dtype dtype = Dtype::kBF16;
  Shape shape;  // of the logical tensor
};

// What the caller knows of a checkpoint's keys; unset: found out from the keys.
struct KeyLookup {
  std::string prefix;
  bool stacked = true;    // look for stacked keys
  bool per_layer = true;  // look for per-layer keys
};

// Looks a logical tensor up under every spelling (name, aliases; per-layer, stacked, singleton). nullopt: it is
// not there. Two spellings at once, or a stacked key with another number of layers, are bad input.
std::optional<FoundTensor> find_tensor(const MegatronFolder& folder,
                                       const mappings::LogicalTensor& tensor,
                                       const KeyLookup& lookup);

// "language_model." when the checkpoint's keys start with it, else "".
std::string detect_prefix(const MegatronFolder& folder);

}  // namespace bridge
