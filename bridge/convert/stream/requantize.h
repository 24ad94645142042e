// Quantizes a tile again so that what was not changed gets its own bytes back.
//
//   for each block, with the scale s it had:
//   1. keep     every value has a code whose dequantization under s is that value bit for bit: s and those codes
//   2. fresh    otherwise a new scale from the block's largest magnitude, by the owner's rule, and every code anew
//
// The numbers are bridge/io/number/block_codec.h's. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "bridge/convert/algebra/tile.h"
#include "bridge/convert/stream/executor.h"

namespace bridge {

struct TileBuffers {
  Dtype value_dtype;
  std::span<const std::byte> values;         // tile.rows x tile.columns
  std::span<const std::byte> source_scales;  // whole grid rows, from the tile's first on
  std::span<std::byte> codes;                // as values
  std::span<std::byte> scales;               // grid rows x grid columns of the tile
};

// Errors: kBadInput for a value that is not finite in a block that needs a new scale.
void requantize_tile(const Transfer& transfer, const BlockGrid& grid, const Tile& tile,
                     const TileBuffers& buffers, const ExecutorHooks& hooks,
                     const std::function<std::string(int32_t)>& name_of);

}  // namespace bridge
