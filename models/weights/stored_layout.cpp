#include "models/weights/stored_layout.h"

#include <vector>

namespace models {

at::Tensor StoredPart::of(const at::Tensor& whole) const {
  std::vector<int64_t> matrix(shape.begin(), shape.end());
  matrix.front() = -1;
  if (columns > 0) matrix.back() = columns;
  const at::Tensor all_rows = whole.view(matrix);
  // A single run may lie anywhere in the matrix; several are one in each stride.
  at::Tensor view = runs() == 1 ? all_rows.narrow(0, first_row + rows.first, rows.run).unsqueeze(0)
                                : all_rows.narrow(0, first_row, runs() * rows.stride)
                                      .unflatten(0, {runs(), rows.stride})
                                      .narrow(1, rows.first, rows.run);
  return columns > 0 ? view.narrow(-1, first_column, shape.back()) : view;
}

}  // namespace models
