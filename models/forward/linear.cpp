#include "models/forward/linear.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <vector>

namespace models {
namespace {

constexpr int64_t kBlockElements = 16 << 20;  // 64 MiB in fp32
constexpr int64_t kScaledRows = 128;          // of a block of FP8 that has one scale

}  // namespace

int64_t linear_rows(const bridge::Shape& shape) {
  const int64_t columns = bridge::element_count(shape) / shape[0];
  if (shape[0] * columns <= kBlockElements) return shape[0];
  const int64_t rows = kBlockElements / columns;
  return rows < kScaledRows ? std::max<int64_t>(1, rows) : rows / kScaledRows * kScaledRows;
}

at::Tensor linear_by_rows(const at::Tensor& x, const SectionWeights& weights, Role role,
                          int64_t expert) {
  const bridge::Shape shape = weights.shape(role, expert);
  const int64_t step = linear_rows(shape);
  if (step == shape[0]) return linear(x, weights.get(role, expert));
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < shape[0]; begin += step) {
    const int64_t end = std::min(begin + step, shape[0]);
    parts.push_back(linear(x, weights.rows(role, begin, end, expert)));
  }
  return at::cat(parts, -1);
}

}  // namespace models
