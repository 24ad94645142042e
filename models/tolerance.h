// How far two forward passes of one model may be apart where they need not be equal bit for bit.
//
//   fp32   1e-4 * max(1, standard deviation): room for another order of fp32 sums in as many layers, none for a wrong weight
//   bf16   8 units in the last place of a value of one standard deviation (2^-8): every layer rounds what it adds once
#pragma once

#include <algorithm>

#include "models/weights.h"

namespace models {

inline double allowed_difference(const Compute& compute, double deviation) {
  constexpr double kFp32 = 1e-4;
  constexpr double kBf16 = 8.0 / 256;
  return (compute.dtype == at::kFloat ? kFp32 : kBf16) * std::max(1.0, deviation);
}

}  // namespace models
