// How far two forward passes of one model may be apart where they need not be equal bit for bit, in standard deviations of
// what is compared, at least of one.
//
//   fp32      1e-4: room for another order of fp32 sums in as many layers, none for a wrong weight
//   rounded   2^-8, fp32 with some weights that were rounded to BF16: one unit in the last place
//   bf16      2^-5, eight of these: every layer rounds what it adds
#pragma once

#include <algorithm>

#include "models/weights.h"

namespace models {

inline double allowed_difference(const Compute& compute, double deviation) {
  constexpr double kFp32 = 1e-4;
  constexpr double kRounded = 1.0 / 256;
  constexpr double kBf16 = 1.0 / 32;
  const double tolerance = compute.dtype != at::kFloat ? kBf16 : compute.rounded ? kRounded : kFp32;
  return tolerance * std::max(1.0, deviation);
}

}  // namespace models
