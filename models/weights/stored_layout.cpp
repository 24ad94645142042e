#include "models/weights/stored_layout.h"

#include <algorithm>
#include <vector>

namespace models {

at::Tensor StoredPart::of(const at::Tensor& whole) const {
  std::vector<int64_t> matrix(shape.begin(), shape.end());
  matrix.front() = -1;
  if (columns > 0) matrix.back() = columns;
  const at::Tensor all_rows =
      transposed ? whole.view({-1, whole.size(-1)}).narrow(0, first_row, shape.back()).t()
                 : whole.view(matrix);
  const int64_t begin = transposed ? 0 : first_row;
  // A single run may lie anywhere in the matrix; several are one in each stride.
  at::Tensor view = runs() == 1 ? all_rows.narrow(0, begin + rows.first, rows.run).unsqueeze(0)
                                : all_rows.narrow(0, begin, runs() * rows.stride)
                                      .unflatten(0, {runs(), rows.stride})
                                      .narrow(1, rows.first, rows.run);
  return columns > 0 ? view.narrow(-1, first_column, shape.back()) : view;
}

void StoredPart::put(const at::Tensor& values, const at::Tensor& whole) const {
  const int64_t to_the_last = columns > 0 ? std::min(shape.back(), columns - first_column) : 0;
  if (columns == 0 || to_the_last == shape.back()) {
    of(whole).copy_(values);
    return;
  }
  const auto put_columns = [&](int64_t from, int64_t count, int64_t column) {
    StoredPart some = *this;
    some.shape.back() = count;
    some.first_column = column;
    some.of(whole).copy_(values.narrow(-1, from, count));
  };
  put_columns(0, to_the_last, first_column);
  put_columns(to_the_last, shape.back() - to_the_last, 0);
}

}  // namespace models
