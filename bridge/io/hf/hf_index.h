// model.safetensors.index.json: {"metadata": {...}, "weight_map": {TENSOR: SHARD, ...}}. Only
// weight_map counts, as in transformers (modeling_utils.py, utils/hub.py
// get_checkpoint_shard_files); other keys are skipped. A shard is one plain file name: weight_map
// must not lead out of its folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/reservation.h"

namespace bridge {

struct WeightMapEntry {
  std::string tensor;
  int32_t shard;  // into WeightMap::shards
};

struct WeightMap {
  std::vector<std::string> shards;      // sorted
  std::vector<WeightMapEntry> entries;  // sorted by tensor
};

// `grown` counts what the result and the reader allocate. Error: kBadInput.
WeightMap parse_weight_map(std::string_view json, Reservation& grown);

// Returns metadata.total_parameters, which transformers 5 writes; nullopt if the index has none.
// Error: kBadInput.
std::optional<int64_t> total_parameters_of_index(std::string_view json);

}  // namespace bridge
