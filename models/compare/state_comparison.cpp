#include "models/compare/state_comparison.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "models/compare/bits.h"
#include "models/compare/device_difference.h"
#include "models/compare/head_statistics.h"
#include "models/compare/tolerance.h"

namespace models {
namespace {

// [different, largest, mean, quartile] in double, without a wait.
at::Tensor distances(const at::Tensor& a, const at::Tensor& b, const Compute& compute) {
  if (same_bytes(a, b)) return at::zeros({4}, at::kDouble);
  const at::Tensor distance = distance_of(a, b);
  const at::Tensor rows = distance.flatten(0, 1).flatten(1).mean(1, /*keepdim=*/false, at::kDouble);
  const auto [different, largest] = compute.kernels == nullptr
                                        ? DeviceDifference{count_of_different(a, b), distance.max()}
                                        : difference_on_device(a, b, *compute.kernels);
  return at::stack({different.to(at::kDouble), largest.to(at::kDouble), distance.mean(at::kDouble),
                    lower_quartile(rows)});
}

}  // namespace

void StateComparison::add(std::string name, const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor deviation =
      a.numel() > 1 ? a.to(at::kFloat).std().to(at::kDouble)
                    : at::zeros({}, at::TensorOptions(at::kDouble).device(a.device()));
  names_.push_back(std::move(name));
  found_.push_back(at::cat({distances(a, b, compute_), deviation.unsqueeze(0)}));
}

std::vector<StateDifference> StateComparison::finish() {
  std::vector<StateDifference> states;
  if (found_.empty()) return states;
  const at::Tensor here = at::stack(found_).to(at::kCPU);
  const double* value = here.const_data_ptr<double>();
  for (std::string& name : names_) {
    StateDifference& state = states.emplace_back();
    state.identical = value[0] == 0;
    state.largest = value[1];
    state.mean = value[2];
    state.judged = judged_difference(compute_, value[1], value[3]);
    state.allowed = allowed_difference(compute_, value[4], name);
    state.name = std::move(name);
    value += here.size(1);
  }
  return states;
}

}  // namespace models
