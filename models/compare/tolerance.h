// How far two forward passes of one model may be apart where they need not be equal bit for bit.
// The unit is the standard deviation of the compared values, but at least 1.
//
//   fp32      1e-4 for the largest difference. This leaves room for another order of fp32 sums in
//             as many layers, but none for a wrong weight.
//   rounded   2^-8 for the largest difference, in fp32 with some weights that were rounded to BF16:
//             one unit in the last place.
//   bf16      2^-4, for multi-token prediction 2^-3, for the lower quartile of the rows' mean
//             differences. The largest difference says nothing: where BF16 makes a router choose
//             another expert, that row and some rows after it differ by several deviations. The
//             better rows differ only by the rounding of every layer.
// Truth: the measurements in docs/verification.md.
#pragma once

#include <algorithm>
#include <string_view>

#include "models/weights/weights.h"

namespace models {

// name: that of the state or head, such as "hidden.3" or "mtp_logits.0".
inline double allowed_difference(const Compute& compute, double deviation, std::string_view name) {
  constexpr double kFp32 = 1e-4;
  constexpr double kRounded = 1.0 / 256;
  const double bf16 = name.starts_with("mtp_") ? 1.0 / 8 : 1.0 / 16;
  const double tolerance = compute.dtype != at::kFloat ? bf16 : compute.rounded ? kRounded : kFp32;
  return tolerance * std::max(1.0, deviation);
}

// The difference that must not exceed allowed_difference(). quartile: the lower quartile of the
// rows' mean differences.
inline double judged_difference(const Compute& compute, double largest, double quartile) {
  return compute.dtype != at::kFloat ? quartile : largest;
}

}  // namespace models
