// Which scale belongs to which element of a block-quantized matrix [rows, columns]. A stack of
// matrices [..., rows, columns] is one matrix where blocks are one row high.
//
// Scales are a matrix of their own, [ceil(rows / block rows), ceil(columns / block columns)]; the
// blocks at the lower and right edges may be partial. Element (r, c) has scale (r / block rows,
// c / block columns). Truth: weight_dequant in inference/kernel.py of DeepSeek-V3; transformers'
// fine-grained FP8.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bridge/io/number/dtype.h"

namespace bridge {

struct BlockScales {
  int32_t tensor = -1;  // the tensor of a reader or writer that holds the scales; -1: not quantized
  Dtype dtype = Dtype::kF32;
  int32_t block_rows = 1;
  int32_t block_columns = 1;

  bool quantized() const { return tensor >= 0; }
  int64_t scale_bytes() const { return bits_of(dtype) / 8; }
};

// The rows and columns of a matrix and of its blocks.
class BlockGrid {
 public:
  BlockGrid(const BlockScales& scales, const Shape& shape)
      : block_rows_(scales.block_rows),
        block_columns_(scales.block_columns),
        rows_(element_count(Shape(shape.begin(), shape.end() - 1))),
        columns_(shape.back()) {}

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t block_rows() const { return block_rows_; }
  int64_t block_columns() const { return block_columns_; }
  int64_t grid_rows() const { return (rows_ + block_rows_ - 1) / block_rows_; }
  int64_t grid_columns() const { return (columns_ + block_columns_ - 1) / block_columns_; }

  // The row of the scale matrix that holds the scale of an element (given by its row-major number).
  int64_t grid_row_of(int64_t element) const { return element / columns_ / block_rows_; }

  // Cuts elements [begin, end) where the scale may change and calls fn(scale, first, length), where
  // scale is the row-major number of the scale.
  template <typename Fn>
  void for_each_run(int64_t begin, int64_t end, Fn&& fn) const {
    int64_t row = begin / columns_;
    int64_t column = begin % columns_;
    while (begin < end) {
      const int64_t block = column / block_columns_;
      const int64_t block_end = std::min((block + 1) * block_columns_, columns_);
      const int64_t length = std::min(block_end - column, end - begin);
      fn(row / block_rows_ * grid_columns() + block, begin, length);
      begin += length;
      column += length;
      if (column == columns_) {
        column = 0;
        ++row;
      }
    }
  }

 private:
  int64_t block_rows_;
  int64_t block_columns_;
  int64_t rows_;
  int64_t columns_;
};

}  // namespace bridge
