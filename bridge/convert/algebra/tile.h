// Tiles: rectangles of whole blocks that cover a matrix. An output is quantized again tile by tile.
//
// A tile is as wide as the matrix where that fits, so that it is one stretch of bytes. Otherwise it
// is one block high and as many blocks wide as fit.
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

// Hands out the tiles of a matrix, row by row. most: the largest number of elements in a tile, at
// least that of a block.
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
