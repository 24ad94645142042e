// Quantizes a tile again so that unchanged blocks get their own bytes back.
//
// For each block, with the scale s that it had:
//   1. keep     if every value has a code whose dequantization under s is that value bit for bit,
//               the block gets s and those codes
//   2. fresh    otherwise it gets a new scale from its largest magnitude, by the rule of the
//               model's owner, and every code anew
//
// A block that is too large for the buffers, as a matrix with one scale is, is read twice, piece by
// piece: first for its largest magnitude and whether it keeps its scale, then for its codes.
//
// bridge/io/number/block_codec.h does the arithmetic. Pure; thread-safe.
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
  std::span<std::byte> codes;                // of the values, in their order
  std::span<std::byte> scales;               // grid rows x grid columns of the tile
};

using NameOf = std::function<std::string(int32_t target)>;

// Errors: kBadInput for a value that is not finite in a block that needs a new scale.
void requantize_tile(const Transfer& transfer, const BlockGrid& grid, const Tile& tile,
                     const TileBuffers& buffers, const ExecutorHooks& hooks, const NameOf& name_of);

struct BlockInPieces {
  std::span<const std::byte> source_scale;
  std::span<std::byte> scale;
  // Returns a piece's values and a place for its codes; without scales. Called twice for each.
  std::function<TileBuffers(const Tile& piece)> load;
  // Takes the codes of each piece.
  std::function<void(const Tile& piece, std::span<const std::byte> codes)> store;
};

// Does the same with one block; pieces are rectangles of it that cover it. The result does not
// depend on how it is cut.
void requantize_in_pieces(const Transfer& transfer, const BlockGrid& grid,
                          std::span<const Tile> pieces, const BlockInPieces& block,
                          const ExecutorHooks& hooks, const NameOf& name_of);

}  // namespace bridge
