#include "models/forward/summary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>

#include <limits>

namespace models {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// [B, W, ratio, 2 d] -> [B, W, 2 ratio, d]: the first half of the channels of the run before, then
// the second half of those of the run itself. The first run has none before it and gets `absent`
// instead.
at::Tensor with_run_before(const at::Tensor& x, double absent) {
  const int64_t dim = x.size(-1) / 2;
  const at::Tensor for_next = x.narrow(-1, 0, dim);
  const at::Tensor none = at::full_like(for_next.narrow(1, 0, 1), absent);
  const at::Tensor before = at::cat({none, for_next.narrow(1, 0, x.size(1) - 1)}, 1);
  return at::cat({before, x.narrow(-1, dim, dim)}, 2);
}

}  // namespace

at::Tensor summaries(const at::Tensor& values, const at::Tensor& gates,
                     const at::Tensor& place_bias, bool overlapping) {
  const int64_t ratio = place_bias.size(0);
  const int64_t runs = values.size(1) / ratio;
  const auto by_run = [&](const at::Tensor& x) {
    return x.narrow(1, 0, runs * ratio).unflatten(1, {runs, ratio});
  };
  at::Tensor value = by_run(values).to(at::kFloat);
  at::Tensor gate = by_run(gates).to(at::kFloat) + place_bias;
  if (overlapping && runs > 0) {
    value = with_run_before(value, 0);
    gate = with_run_before(gate, kNever);
  }
  const at::Tensor sum = (gate.softmax(2) * value).sum(2).to(values.scalar_type());
  return overlapping && runs == 0 ? sum.narrow(-1, 0, sum.size(-1) / 2) : sum;
}

at::Tensor finished_summaries(int64_t first, int64_t last, int64_t ratio, at::Device device) {
  const at::TensorOptions numbers = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor finished = at::arange(first + 1, last + 1, numbers).floor_divide(ratio);
  return at::arange(last / ratio, numbers).unsqueeze(0) < finished.unsqueeze(1);
}

}  // namespace models
