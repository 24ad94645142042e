// The rows of a stored matrix that make a canonical tensor.
#pragma once

#include <algorithm>
#include <cstdint>

namespace models {

// Row r of the canonical tensor is stored row first + (r / run) * stride + r % run.
struct RowPattern {
  int64_t count = 0;  // rows of the canonical tensor; 0: all of the matrix, in order
  int64_t first = 0;
  int64_t run = 0;
  int64_t stride = 0;
  int64_t total = 0;  // rows of the matrix; 0: count or more (a padded vocabulary)

  // Calls visit(first stored row, canonical row, count) for each stored run of rows [begin, end).
  template <typename Visitor>
  void for_each_run(int64_t begin, int64_t end, const Visitor& visit) const {
    for (int64_t row = begin; row < end;) {
      const int64_t in_run = row % run;
      const int64_t rows = std::min(run - in_run, end - row);
      visit(first + row / run * stride + in_run, row, rows);
      row += rows;
    }
  }
};

}  // namespace models
