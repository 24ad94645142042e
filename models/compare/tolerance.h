// How far two forward passes of one model may be apart where they need not be equal bit for bit, in standard deviations of
// what is compared, at least of one.
//
//   fp32      1e-4, the largest difference: room for another order of fp32 sums in as many layers, none for a wrong weight
//   rounded   2^-8, likewise, fp32 with some weights that were rounded to BF16: one unit in the last place
//   bf16      2^-4, of multi-token prediction 2^-3: the lower quartile of the rows' mean differences. The largest difference
//             says nothing: where BF16 makes a router choose another expert, a row differs by several deviations, and with
//             it some of those after it; the better rows differ by what every layer rounds. Measured: docs/verification.md
#pragma once

#include <algorithm>
#include <string_view>

#include "models/weights/weights.h"

namespace models {

// name: of the state or head, "hidden.3", "mtp_logits.0".
inline double allowed_difference(const Compute& compute, double deviation, std::string_view name) {
  constexpr double kFp32 = 1e-4;
  constexpr double kRounded = 1.0 / 256;
  const double bf16 = name.starts_with("mtp_") ? 1.0 / 8 : 1.0 / 16;
  const double tolerance = compute.dtype != at::kFloat ? bf16 : compute.rounded ? kRounded : kFp32;
  return tolerance * std::max(1.0, deviation);
}

// What is held against it. quartile: of the rows' mean differences.
inline double judged_difference(const Compute& compute, double largest, double quartile) {
  return compute.dtype != at::kFloat ? quartile : largest;
}

}  // namespace models
