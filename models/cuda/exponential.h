// e^x of a double with the same bits on every processor. Libraries of host and device differ in the
// last place.
//
//   1. x = n ln 2 + r with |r| <= ln 2 / 2. n ln 2 is taken off in two parts, of which the first is
//      exact.
//   2. e^r by its Taylor series, whose first term left out is below 4e-18.
//   3. times 2^n in two steps, so that a subnormal result is rounded only once.
// The error is below one unit in the last place and a half.
#pragma once

#include <cstdint>

#include "models/cuda/host_device.h"

namespace models::cuda {

CAUSEWAY_HOST_DEVICE inline double power_of_two(int64_t exponent) {
  return bits_as<double>(static_cast<uint64_t>(exponent + 1023) << 52);
}

// x: not above 0, or NaN.
CAUSEWAY_HOST_DEVICE inline double exponential(double x) {
  if (is_nan(x)) return x;
  if (x < -746) return 0;                  // less than half of the smallest number
  constexpr double kToInteger = 0x1.8p52;  // a sum with it is rounded to an integer
  const double n = (x * 0x1.71547652b82fep+0 + kToInteger) - kToInteger;
  const double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
  constexpr double kInverseFactorials[] = {1.0 / 6227020800,
                                           1.0 / 479001600,
                                           1.0 / 39916800,
                                           1.0 / 3628800,
                                           1.0 / 362880,
                                           1.0 / 40320,
                                           1.0 / 5040,
                                           1.0 / 720,
                                           1.0 / 120,
                                           1.0 / 24,
                                           1.0 / 6,
                                           1.0 / 2,
                                           1.0,
                                           1.0};
  double sum = 0;
  for (const double term : kInverseFactorials) sum = sum * r + term;
  const auto exponent = static_cast<int64_t>(n);
  const int64_t half = exponent / 2;
  return sum * power_of_two(half) * power_of_two(exponent - half);
}

}  // namespace models::cuda
