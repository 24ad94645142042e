// Tiles: rectangles of whole blocks that cover a matrix. An output is quantized again tile by tile.
//
// A tile is as wide as the matrix where that fits, so that it is one stretch of bytes. Otherwise it
// is one block high and as many blocks wide as fit. A block that is as wide as the matrix and does
// not fit is a tile that is cut into pieces.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "bridge/convert/algebra/block_scales.h"

namespace bridge {

struct Tile {
  int64_t row;
  int64_t rows;
  int64_t column;
  int64_t columns;
};

// Hands out the tiles of a matrix, row by row. most: the largest number of elements in a tile; a
// block with more is a tile all the same.
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

// Cuts a tile that is as wide as its matrix into pieces of at most `most` elements, which is even:
// whole rows where they fit, else parts of rows. Each is one stretch of elements.
inline std::vector<Tile> pieces_of(const Tile& tile, int64_t most) {
  std::vector<Tile> pieces;
  const int64_t columns = std::min(tile.columns, most);
  const int64_t rows = columns == tile.columns ? most / columns : 1;
  for (int64_t row = 0; row < tile.rows; row += rows) {
    for (int64_t column = 0; column < tile.columns; column += columns) {
      pieces.push_back({tile.row + row, std::min(rows, tile.rows - row), tile.column + column,
                        std::min(columns, tile.columns - column)});
    }
  }
  return pieces;
}

}  // namespace bridge
