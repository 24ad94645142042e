// Translates logical tensor names to the keys of a torch_dist checkpoint and back.
//
// A logical name has an explicit layer index ("decoder.layers.3.mlp.linear_fc1.weight"). Its forms
// on disk are
//   per-layer   decoder.layers.3.mlp.linear_fc1.weight
//               [rows, ...]
//   stacked     decoder.layers.mlp.linear_fc1.weight
//               [L, rows, ...], layer l at offset l
//   experts     ….experts.experts.linear_fc1.weight
//               [E, rows, ...], or [L, E, rows, ...] when layers are stacked too; expert 5 of it is
//               the logical ….experts.experts.5.linear_fc1.weight
//   singleton   …linear_fc1.weight_w and …linear_fc1.weight_v
//               gate and up rows as keys of their own, and experts too
//               (….experts.experts.5.linear_fc1.weight_w)
//   split       …in_proj.weight.query, .key, .value, …
//               stretches of a tensor's rows as keys of their own, where the table says so; stacked
//               and gathered like any other key
//
// with an optional prefix ("language_model."). Only a family whose Megatron prefix ends in ".{l}"
// can be stacked; MTP depths never are. This module adds axes, objects and old spellings; it never
// touches bytes. Truth: megatron/core/transformer/transformer_block.py (sharded_state_dict), mlp.py
// (swiglu factory), moe/experts.py.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/binding/logical_tensor.h"
#include "mappings/table/table.h"

namespace bridge {

// The prefix of the keys of a text model that is part of a multimodal one.
constexpr std::string_view kLanguageModel = "language_model.";

struct KeyStyle {
  bool per_layer = false;
  bool hybrid = false;  // the keys of a HybridModel (hybrid_keys.h); per_layer too
  std::string prefix;
};

// The axes that a key has before those of the logical tensor: layers and experts, each as the index
// of one and the number of all.
struct LeadingAxes {
  int count = 0;
  std::array<int64_t, 2> index{};
  std::array<int64_t, 2> size{};

  void add(int64_t at, int64_t of) {
    index[static_cast<size_t>(count)] = at;
    size[static_cast<size_t>(count++)] = of;
  }
};

// Where a logical tensor is written.
struct WrittenKey {
  std::string key;
  LeadingAxes axes;
};
WrittenKey written_key(const mappings::LogicalTensor& tensor, const std::string& name,
                       const KeyStyle& style);

// The key of the object that holds a module's extra state.
std::string extra_state_key(const mappings::ExtraStateModule& module, const KeyStyle& style);

// Bytes of one raw tensor of a checkpoint.
struct RawStretch {
  int32_t tensor;  // index into DcpMetadata::tensors
  int64_t begin;   // bytes
  int64_t length;
};

// A logical tensor found in a checkpoint, as stretches laid end to end. There is one stretch,
// except for gated weights that were written as two keys and for split tensors.
struct FoundTensor {
  std::vector<RawStretch> stretches;
  Dtype dtype = Dtype::kBF16;
  Shape shape;  // of the logical tensor
};

// What the caller knows of a checkpoint's keys.
struct KeyLookup {
  std::string prefix;
  bool stacked = true;    // look for stacked keys
  bool per_layer = true;  // look for per-layer keys
};

// Looks a logical tensor up under every spelling (name, aliases; per-layer, stacked; experts
// together or apart; singleton; split). nullopt: the checkpoint lacks it. Two spellings at once, or
// a key with another number of layers or experts, are bad input.
std::optional<FoundTensor> find_tensor(const MegatronFolder& folder,
                                       const mappings::LogicalTensor& tensor,
                                       const KeyLookup& lookup);

// Returns the prefix of the text model's keys: "language_model." or "". Errors: kBadInput where
// some keys of a module have the prefix and some do not, unless one was asked for, and where no key
// begins as asked.
std::string detect_prefix(const MegatronFolder& folder,
                          const std::optional<std::string>& asked = std::nullopt);

}  // namespace bridge
