// Tiles: rectangles of whole blocks that cover a matrix, the unit in which an output is quantized again.
//
// A tile is as wide as the matrix where that fits, so that it is one stretch of bytes; else as many blocks wide as
// fit, one block high.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "bridge/convert/algebra/block_scales.h"

namespace bridge {

struct Tile {
  int64_t row;
  int64_t rows;
  int64_t column;
  int64_t columns;
};

// Hands out the tiles of a matrix, row by row. most: elements of a tile, at least a block's.
class TileCursor {
 public:
  TileCursor(const BlockGrid& grid, int64_t most) : grid_(grid) {
    const int64_t high = std::min(grid.block_rows(), grid.rows());
    const int64_t blocks_wide = most / high / grid.block_columns();
    columns_ = most / high >= grid.columns()
                   ? grid.columns()
                   : std::max<int64_t>(blocks_wide, 1) * grid.block_columns();
    const int64_t blocks_high =
        columns_ == grid.columns() ? most / columns_ / grid.block_rows() : 1;
    rows_ = std::max<int64_t>(blocks_high, 1) * grid.block_rows();
  }

  std::optional<Tile> next() {
    if (row_ >= grid_.rows()) return std::nullopt;
    const Tile tile{row_, std::min(rows_, grid_.rows() - row_), column_,
                    std::min(columns_, grid_.columns() - column_)};
    column_ += tile.columns;
    if (column_ == grid_.columns()) {
      column_ = 0;
      row_ += tile.rows;
    }
    return tile;
  }

 private:
  BlockGrid grid_;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
  int64_t row_ = 0;
  int64_t column_ = 0;
};

}  // namespace bridge
