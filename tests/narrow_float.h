// BF16 and F16 by definition: values by ldexp from sign, exponent and mantissa, rounding by search
// among all values of the format. Casts and arithmetic are tested against it.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "bridge/io/number/dtype.h"

namespace bridge {

// A 16-bit format, described by numbers.
struct Narrow {
  Dtype dtype;
  int exponent_bits;
  int mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint16_t infinity() const {
    return static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
  }
  uint16_t quiet() const { return static_cast<uint16_t>(1 << (mantissa_bits - 1)); }
  bool is_nan(uint16_t code) const { return (code & 0x7fff) > infinity(); }

  double value(uint16_t code) const {
    const int exponent = (code & 0x7fff) >> mantissa_bits;
    const int mantissa = code & ((1 << mantissa_bits) - 1);
    if (exponent == (1 << exponent_bits) - 1) {
      const double special = mantissa != 0 ? std::nan("") : HUGE_VAL;
      return std::copysign(special, code & 0x8000 ? -1.0 : 1.0);
    }
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, 1 - bias() - mantissa_bits)
                                           : std::ldexp(mantissa + (1 << mantissa_bits),
                                                        exponent - bias() - mantissa_bits);
    return code & 0x8000 ? -magnitude : magnitude;
  }

  // Returns the code nearest to x by search: the values of the codes 0..infinity increase, where
  // infinity counts as the value that its code would have if the exponents continued. Midpoints are
  // exact in double.
  uint16_t nearest(double x) const {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    x = std::fabs(x);
    uint16_t low = 0;
    uint16_t high = infinity();
    const double beyond = std::ldexp(1.0, bias() + 1);
    if (x >= beyond) return static_cast<uint16_t>(sign | infinity());
    while (high - low > 1) {
      const auto middle = static_cast<uint16_t>((low + high) / 2);
      (value(middle) <= x ? low : high) = middle;
    }
    const double midpoint = (value(low) + (high == infinity() ? beyond : value(high))) / 2;
    const bool up = x > midpoint || (x == midpoint && low % 2 == 1);
    return static_cast<uint16_t>(sign | (up ? high : low));
  }
};

inline constexpr Narrow kHalf = {Dtype::kF16, 5, 10};
inline constexpr Narrow kBrain = {Dtype::kBF16, 8, 7};

inline std::vector<uint16_t> all_codes() {
  std::vector<uint16_t> codes(65536);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint16_t>(i);
  return codes;
}

}  // namespace bridge
