// Which rows of a stored matrix make a canonical tensor.
#pragma once

#include <algorithm>
#include <cstdint>

namespace models {

// Row r is row first + (r / run) * stride + r % run.
struct RowPattern {
  int64_t count = 0;  // of the canonical tensor; 0: all rows of the matrix, in their order
  int64_t first = 0;
  int64_t run = 0;
  int64_t stride = 0;
  int64_t total = 0;  // what the matrix has; 0: any number from count on (a padded vocabulary)

  // visit(first stored row, canonical row, count) of the stored runs that rows [begin, end) are made of.
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
