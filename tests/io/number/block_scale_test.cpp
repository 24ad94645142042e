// Scales of blocks: the bits of each type, and new scales against hand-computed ones (those of F32
// and BF16 as torch divides and rounds).
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "bridge/io/base/error.h"
#include "bridge/io/number/block_codec.h"

namespace bridge {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Code code_of(auto&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.code();
  }
  return Code::kMismatch;
}

TEST(BlockScale, EveryE8m0ByteIsAPowerOfTwoAndComesBack) {
  for (int i = 0; i < 256; ++i) {
    const auto byte = static_cast<std::byte>(i);
    const float scale = load_scale(Dtype::kF8E8M0, &byte);
    if (i == 255) {
      EXPECT_EQ(std::bit_cast<uint32_t>(scale), 0x7fc00000u);
    } else {
      EXPECT_EQ(static_cast<double>(scale), std::ldexp(1.0, i - 127)) << i;
    }
    std::byte back{};
    store_scale(Dtype::kF8E8M0, scale, &back);
    EXPECT_EQ(back, byte) << i;
  }
}

TEST(BlockScale, EveryExponentOfU8ComesBack) {
  for (int i = 0; i < 256; ++i) {
    const auto byte = static_cast<std::byte>(i);
    const float scale = load_scale(Dtype::kU8, &byte);
    EXPECT_EQ(scale, i == 255 ? kInfinity : static_cast<float>(std::ldexp(1.0, i - 127))) << i;
    std::byte back{};
    store_scale(Dtype::kU8, scale, &back);
    EXPECT_EQ(back, byte) << i;
  }
  std::byte out{};
  EXPECT_EQ(code_of([&] { store_scale(Dtype::kU8, 3.0f, &out); }), Code::kInternal);
  EXPECT_EQ(code_of([&] { store_scale(Dtype::kU8, 0.0f, &out); }), Code::kInternal);
}

TEST(BlockScale, EveryBrainScaleComesBackBitForBit) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float scale = load_scale(Dtype::kBF16, std::as_bytes(std::span(&bits, 1)).data());
    ASSERT_EQ(std::bit_cast<uint32_t>(scale), i << 16);
    uint16_t back = 0;
    store_scale(Dtype::kBF16, scale, std::as_writable_bytes(std::span(&back, 1)).data());
    ASSERT_EQ(back, bits);
  }
}

TEST(BlockScale, SinglesAreStoredBitForBit) {
  for (const uint32_t bits : {0u, 0x80000001u, 0x3e123456u, 0x7f800001u, 0xffffffffu}) {
    const float scale = load_scale(Dtype::kF32, std::as_bytes(std::span(&bits, 1)).data());
    uint32_t back = 0;
    store_scale(Dtype::kF32, scale, std::as_writable_bytes(std::span(&back, 1)).data());
    EXPECT_EQ(back, bits);
  }
}

TEST(BlockScale, WhatATypeDoesNotHaveIsAnInternalError) {
  std::byte out[4];
  for (const float scale : {0.0f, -1.0f, 3.0f, 0x1p-128f, 0x1.8p-127f, kInfinity}) {
    EXPECT_EQ(code_of([&] { store_scale(Dtype::kF8E8M0, scale, out); }), Code::kInternal) << scale;
  }
  EXPECT_EQ(code_of([&] { store_scale(Dtype::kBF16, 0x1.02p0f, out); }), Code::kMismatch);
  EXPECT_EQ(code_of([&] { store_scale(Dtype::kBF16, 0x1.03p0f, out); }), Code::kInternal);
  EXPECT_EQ(code_of([&] { store_scale(Dtype::kF16, 1.0f, out); }), Code::kInternal);
  EXPECT_EQ(code_of([&] { load_scale(Dtype::kF64, out); }), Code::kInternal);
}

TEST(BlockScale, NewScales) {
  const auto fp8 = [](Dtype dtype, float amax) {
    return std::bit_cast<uint32_t>(new_scale(Dtype::kF8E4M3, dtype, amax));
  };
  const auto bits = [](float x) { return std::bit_cast<uint32_t>(x); };
  EXPECT_EQ(fp8(Dtype::kF32, 448.0f), bits(1.0f));
  EXPECT_EQ(fp8(Dtype::kF32, 3.5f), bits(0x1p-7f));
  EXPECT_EQ(fp8(Dtype::kF32, 1.0f), 0x3b124925u);
  EXPECT_EQ(fp8(Dtype::kF32, 0.0f), 0x346facadu);
  EXPECT_EQ(fp8(Dtype::kF32, 1e-30f), 0x346facadu);
  EXPECT_EQ(fp8(Dtype::kBF16, 1.0f), 0x3b120000u);
  EXPECT_EQ(fp8(Dtype::kBF16, 0.0713f), 0x39270000u);
  EXPECT_EQ(fp8(Dtype::kF8E8M0, 448.0f), bits(1.0f));
  EXPECT_EQ(fp8(Dtype::kF8E8M0, std::nextafterf(448.0f, 449.0f)), bits(2.0f));
  EXPECT_EQ(fp8(Dtype::kF8E8M0, 1.0f), bits(0x1p-8f));
  EXPECT_EQ(fp8(Dtype::kF8E8M0, 0.0f), bits(0x1p-22f));  // 1e-4 / 448 = 1.87 * 2^-23
  EXPECT_EQ(fp8(Dtype::kF8E8M0, std::numeric_limits<float>::max()), bits(0x1p120f));

  const auto fp4 = [](float amax) { return new_scale(Dtype::kF4E2M1, Dtype::kF8E8M0, amax); };
  EXPECT_EQ(fp4(6.0f), 1.0f);
  EXPECT_EQ(fp4(6.03f), 2.0f);
  EXPECT_EQ(fp4(5.0f), 1.0f);
  EXPECT_EQ(fp4(3.0f), 0.5f);
  EXPECT_EQ(fp4(0.0f), 0x1p-126f);
  EXPECT_EQ(fp4(0x1p-140f), 0x1p-126f);
}

// The owners' kernels multiply by the reciprocal in F32. For magnitudes of BF16 the power of two is
// the same as that of the quotient.
TEST(BlockScale, PowersOfTwoAreThoseOfTheOwnersProducts) {
  const auto power_above = [](float x) {
    int exponent = 0;
    const float fraction = std::frexp(x, &exponent);
    return std::ldexp(1.0f, fraction == 0.5f ? exponent - 1 : exponent);
  };
  for (uint32_t i = 0; i < 0x7f80; ++i) {
    const auto amax = std::bit_cast<float>(i << 16);
    ASSERT_EQ(new_scale(Dtype::kF8E4M3, Dtype::kF8E8M0, amax),
              power_above(std::max(amax, 1e-4f) * (1.0f / 448)))
        << amax;
    ASSERT_EQ(new_scale(Dtype::kF4E2M1, Dtype::kF8E8M0, amax),
              power_above(std::max(amax, 6 * 0x1p-126f) * (1.0f / 6)))
        << amax;
  }
}

TEST(BlockScale, ThereIsNoNewScaleForThese) {
  const auto code = [](Dtype format, Dtype scale, float amax) {
    return code_of([&] { new_scale(format, scale, amax); });
  };
  EXPECT_EQ(code(Dtype::kF4E2M1, Dtype::kF32, 1), Code::kInternal);
  EXPECT_EQ(code(Dtype::kF8E5M2, Dtype::kF32, 1), Code::kInternal);
  EXPECT_EQ(code(Dtype::kF8E4M3, Dtype::kF16, 1), Code::kInternal);
  EXPECT_EQ(code(Dtype::kF8E4M3, Dtype::kF32, std::nanf("")), Code::kInternal);
  EXPECT_EQ(code(Dtype::kF4E2M1, Dtype::kF8E8M0, kInfinity), Code::kInternal);
}

}  // namespace
}  // namespace bridge
