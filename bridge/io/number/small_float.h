// The element formats of quantized tensors as numbers: e4m3fn (FP8) and e2m1 (FP4). Both have a
// sign, subnormals and no infinity. Every form of the block codec uses them.
//
//   1. A magnitude code m below 2^(mantissa bits) is subnormal: m units, where
//      unit = 2^(1 - bias - mantissa).
//   2. Codes up to the largest are the bits of an F32 without its lower mantissa and with another
//      bias.
//   3. The code above the largest (e4m3: 0x7f) is NaN. e2m1 has none.
// Truth: OCP Microscaling Formats 1.0, 5.3.1 and 5.3.3.
#pragma once

#include <bit>
#include <cstdint>

#include "bridge/io/number/dtype.h"

namespace bridge {

template <Dtype kFormat, int kMantissaBits, int kExponentBias, int kLargest>
struct SmallFloat {
  static constexpr Dtype kDtype = kFormat;
  static constexpr int kMantissa = kMantissaBits;
  static constexpr int kLargestCode = kLargest;
  static constexpr int kSignCode = std::bit_ceil(static_cast<unsigned>(kLargest));
  static constexpr int kBits = std::bit_width(static_cast<unsigned>(kSignCode));
  static constexpr bool kHasNan = kLargestCode < kSignCode - 1;
  static constexpr int kNanCode = kSignCode - 1;  // if the format has one
  static constexpr int kZeroCode = 0;
  static constexpr int kFirstNormalCode = 1 << kMantissa;
  // An F32 of exponent bias 127 and 23 mantissa places, shifted right by kShift, less kRebias.
  static constexpr int kShift = 23 - kMantissa;
  static constexpr int kRebias = (127 - kExponentBias) << kMantissa;

  static constexpr float power_of_two(int exponent) {
    return std::bit_cast<float>(static_cast<uint32_t>(127 + exponent) << 23);
  }
  static constexpr float kSmallestNormal = power_of_two(1 - kExponentBias);
  static constexpr float kUnit = power_of_two(1 - kExponentBias - kMantissa);
  // Added to a value that is at most the smallest normal: the processor rounds the sum to units, to
  // even, and its low bits count them.
  static constexpr float kUnitPlace = power_of_two(1 - kExponentBias - kMantissa + 23);
  static constexpr float kLargestValue =
      std::bit_cast<float>(static_cast<uint32_t>(kLargest + kRebias) << kShift);
  // Half a step above the largest value: values beyond it lose more than rounding.
  static constexpr float kClippedAbove =
      std::bit_cast<float>(std::bit_cast<uint32_t>(kLargestValue) + (uint32_t{1} << (kShift - 1)));
};
using E4m3 = SmallFloat<Dtype::kF8E4M3, 3, 7, 0x7e>;
using E2m1 = SmallFloat<Dtype::kF4E2M1, 1, 1, 0x07>;
static_assert(E4m3::kLargestValue == 448 && E4m3::kClippedAbove == 464 && E4m3::kUnit == 0x1p-9f &&
              E4m3::kSignCode == 0x80);
static_assert(E2m1::kLargestValue == 6 && E2m1::kClippedAbove == 7 && E2m1::kUnit == 0.5f &&
              E2m1::kSignCode == 0x08);

// The only NaN of dequantized elements, in F32; BF16 and F16 have it without its lower bits.
constexpr uint32_t kCanonicalNan = 0x7fc00000;

}  // namespace bridge
