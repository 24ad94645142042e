#include "models/compare/value_comparison.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/compare/bits.h"

namespace models {
namespace {

void keep_those(std::vector<Rounding>& rounds, const at::Tensor& from, const at::Tensor& to) {
  std::erase_if(rounds,
                [&](const Rounding& rounding) { return count_different(rounding(from), to) != 0; });
}

}  // namespace

bool ValueComparison::add(const at::Tensor& a, const at::Tensor& b) {
  const bool same = same_bytes(a, b);
  const int64_t here = same ? 0 : count_different(a, b);
  types_differ_ = a.scalar_type() != b.scalar_type();
  if (different_ == 0 && here > 0) {
    rounds_a_ = roundings(role_, a.scalar_type(), b.scalar_type(), types_);
    rounds_b_ = roundings(role_, b.scalar_type(), a.scalar_type(), types_);
  }
  // A rounding that explains the blocks that differ must also leave the equal blocks unchanged.
  keep_those(rounds_a_, a, b);
  keep_those(rounds_b_, b, a);
  if (here == 0) return same;
  different_ += here;
  keep_larger(largest_, distance_of(a, b).max().item().toDouble());
  return false;
}

std::string ValueComparison::text(int64_t elements) const {
  const std::string found = fmt::format("{} of {} values differ", different_, elements);
  return std::isfinite(largest_) ? fmt::format("{}, by {:.3g} at most", found, largest_)
                                 : found + ", NaN or infinity among them";
}

}  // namespace models
