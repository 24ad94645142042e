// The elements of INT4, whole numbers from -8 to 7, as the block codec uses them. A code is the
// number plus 8, so the code of zero is 8. There is no NaN and one zero.
//
// In files eight codes lie in an I32, the first in the lowest bits. So two lie in a byte, the even
// column in the low nibble, as those of FP4 do.
// Truth: pack_to_int32 and unpack_from_int32 of compressed-tensors
// (compressors/pack_quantized/helpers.py).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "bridge/io/number/dtype.h"
#include "bridge/io/number/small_float.h"

namespace bridge {

struct Int4 {
  static constexpr Dtype kDtype = Dtype::kI4;
  static constexpr int kBits = 4;
  static constexpr bool kHasNan = false;
  static constexpr int kZeroCode = 8;
  static constexpr float kLeast = -8;
  static constexpr float kLargestValue = 7;

  // The F32 product of a code and a scale. A NaN is positive, whatever the code.
  static float product(uint8_t code, float scale) {
    const float result = static_cast<float>(code - kZeroCode) * scale;
    return std::isnan(result) ? std::bit_cast<float>(kCanonicalNan) : result;
  }

  // The only code that can give the value (block_codec.h). Negative zero is the product of a
  // negative number, if that is small enough, and a positive scale.
  static uint8_t candidate(float value, float scale) {
    const float quotient = value / scale;
    const bool negative = std::signbit(value) != std::signbit(scale);
    int number = 0;
    if (std::isinf(value) && std::isinf(scale)) {
      number = 1;
    } else if (!std::isnan(quotient)) {
      number = std::abs(nearest(quotient));
    }
    if (number == 0 && negative) number = 1;
    return static_cast<uint8_t>(kZeroCode + (negative ? -number : number));
  }

  // Rounds to the nearest code, ties to even. clipped grows by one if that loses more than
  // rounding.
  static uint8_t rounded(float value, float scale, int64_t& clipped) {
    const float quotient = value / scale;
    if (std::isnan(quotient)) return kZeroCode;
    clipped += quotient > kLargestValue + 0.5F || quotient < kLeast - 0.5F ? 1 : 0;
    return static_cast<uint8_t>(kZeroCode + nearest(quotient));
  }

 private:
  // The processor rounds the sum to whole numbers, and its low bits count them.
  static int nearest(float x) {
    constexpr float kUnitPlace = 0x1.8p23F;
    return std::bit_cast<int>(std::clamp(x, kLeast, kLargestValue) + kUnitPlace) -
           std::bit_cast<int>(kUnitPlace);
  }
};

}  // namespace bridge
