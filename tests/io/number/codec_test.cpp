// Casts of plain floats against a second definition: values by ldexp from sign, exponent and
// mantissa, rounding by search among all values of the target. Plus single codes as ml_dtypes and
// numpy convert them.
#include "bridge/io/number/codec.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "bridge/io/base/error.h"
#include "tests/narrow_float.h"

namespace bridge {
namespace {

template <typename To, typename From>
std::vector<To> cast(Dtype from, const std::vector<From>& in, Dtype to,
                     int64_t* overflowed = nullptr) {
  std::vector<To> out(in.size());
  int64_t count = 0;
  cast_floats(from, std::as_bytes(std::span(in)), to, std::as_writable_bytes(std::span(out)),
              count);
  if (overflowed != nullptr) *overflowed = count;
  return out;
}

template <typename To, typename From>
To cast1(Dtype from, From in, Dtype to) {
  return cast<To>(from, std::vector<From>{in}, to)[0];
}

class CodecNarrow : public testing::TestWithParam<Narrow> {
 protected:
  const Narrow& format() const { return GetParam(); }
};

TEST_P(CodecNarrow, EveryCodeWidensToItsValue) {
  const std::vector<uint16_t> codes = all_codes();
  int64_t overflowed = 0;
  const std::vector<float> singles = cast<float>(format().dtype, codes, Dtype::kF32, &overflowed);
  EXPECT_EQ(overflowed, 0);
  const std::vector<double> doubles = cast<double>(format().dtype, codes, Dtype::kF64);
  for (size_t i = 0; i < codes.size(); ++i) {
    const double expected = format().value(codes[i]);
    if (format().is_nan(codes[i])) {
      const uint32_t payload = (codes[i] & ((1u << format().mantissa_bits) - 1))
                               << (23 - format().mantissa_bits);
      const uint32_t sign = codes[i] & 0x8000 ? 0x80000000u : 0;
      ASSERT_EQ(std::bit_cast<uint32_t>(singles[i]), sign | 0x7fc00000u | payload) << i;
      ASSERT_EQ(std::bit_cast<uint64_t>(doubles[i]),
                uint64_t{sign} << 32 | 0x7ff8000000000000u | uint64_t{payload} << 29)
          << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(singles[i]),
                std::bit_cast<uint32_t>(static_cast<float>(expected)))
          << i;
      ASSERT_EQ(std::bit_cast<uint64_t>(doubles[i]), std::bit_cast<uint64_t>(expected)) << i;
    }
  }
}

TEST_P(CodecNarrow, EveryCodeComesBack) {
  const std::vector<uint16_t> codes = all_codes();
  const auto singles = cast<float>(format().dtype, codes, Dtype::kF32);
  const auto doubles = cast<double>(format().dtype, codes, Dtype::kF64);
  int64_t overflowed = 0;
  const auto from_singles = cast<uint16_t>(Dtype::kF32, singles, format().dtype, &overflowed);
  EXPECT_EQ(overflowed, 0);
  const auto from_doubles = cast<uint16_t>(Dtype::kF64, doubles, format().dtype);
  for (size_t i = 0; i < codes.size(); ++i) {
    const auto expected =
        static_cast<uint16_t>(codes[i] | (format().is_nan(codes[i]) ? format().quiet() : 0));
    ASSERT_EQ(from_singles[i], expected);
    ASSERT_EQ(from_doubles[i], expected);
  }
}

// Every code, every midpoint between neighbours, and the closest values around both: in double they
// would round twice if they passed through F32.
TEST_P(CodecNarrow, RoundsToNearestEvenOnce) {
  std::vector<double> doubles;
  for (uint16_t code = 0; code < format().infinity(); ++code) {
    const double value = format().value(code);
    const bool last = code + 1 == format().infinity();
    const double next = last ? std::ldexp(1.0, format().bias() + 1)
                             : format().value(static_cast<uint16_t>(code + 1));
    for (const double x : {value, (value + next) / 2}) {
      for (const double y : {std::nextafter(x, -HUGE_VAL), x, std::nextafter(x, HUGE_VAL),
                             x * (1 + 0x1p-40), x * (1 - 0x1p-40)}) {
        doubles.insert(doubles.end(), {y, -y});
      }
    }
  }
  std::vector<float> singles;
  for (const double x : doubles) {
    singles.push_back(static_cast<float>(x));
    singles.push_back(std::nextafterf(static_cast<float>(x), 0));
  }
  int64_t expected_overflows = 0;
  const auto check = [&](auto in, Dtype dtype) {
    int64_t overflowed = 0;
    expected_overflows = 0;
    const auto out = cast<uint16_t>(dtype, in, format().dtype, &overflowed);
    for (size_t i = 0; i < in.size(); ++i) {
      const uint16_t expected = format().nearest(in[i]);
      ASSERT_EQ(out[i], expected) << fmt::format("{:a}", static_cast<double>(in[i]));
      expected_overflows += (expected & 0x7fff) == format().infinity() && std::isfinite(in[i]);
    }
    EXPECT_EQ(overflowed, expected_overflows);
  };
  check(doubles, Dtype::kF64);
  // Both signs of the last midpoint and of the two values above it.
  EXPECT_EQ(expected_overflows, 6);
  check(singles, Dtype::kF32);
}

TEST_P(CodecNarrow, RandomBitsRoundToNearest) {
  std::mt19937_64 random(7);
  std::vector<double> doubles;
  std::vector<float> singles;
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t bits = random();
    if (const auto x = std::bit_cast<double>(bits); std::isfinite(x)) doubles.push_back(x);
    if (const auto x = std::bit_cast<float>(static_cast<uint32_t>(bits)); std::isfinite(x)) {
      singles.push_back(x);
      doubles.push_back(static_cast<double>(x) *
                        (1 + 0x1p-30));  // exponents in reach of the target
    }
  }
  const auto from_doubles = cast<uint16_t>(Dtype::kF64, doubles, format().dtype);
  for (size_t i = 0; i < doubles.size(); ++i)
    ASSERT_EQ(from_doubles[i], format().nearest(doubles[i]));
  const auto from_singles = cast<uint16_t>(Dtype::kF32, singles, format().dtype);
  for (size_t i = 0; i < singles.size(); ++i)
    ASSERT_EQ(from_singles[i], format().nearest(singles[i]));
}

INSTANTIATE_TEST_SUITE_P(Formats, CodecNarrow, testing::Values(kHalf, kBrain),
                         [](const auto& test) {
                           return std::string(safetensors_name(test.param.dtype));
                         });

TEST(Codec, HalfAndBrainRoundOnceIntoEachOther) {
  const std::vector<uint16_t> codes = all_codes();
  for (const auto& [from, to] : {std::pair(kHalf, kBrain), std::pair(kBrain, kHalf)}) {
    int64_t overflowed = 0;
    int64_t expected_overflows = 0;
    const auto out = cast<uint16_t>(from.dtype, codes, to.dtype, &overflowed);
    for (size_t i = 0; i < codes.size(); ++i) {
      if (from.is_nan(codes[i])) {
        ASSERT_TRUE(to.is_nan(out[i]) && (out[i] & to.quiet()) != 0 &&
                    ((out[i] ^ codes[i]) & 0x8000) == 0);
        continue;
      }
      const double value = from.value(codes[i]);
      ASSERT_EQ(out[i], to.nearest(value)) << i;
      expected_overflows += std::isfinite(value) && std::isinf(to.value(out[i]));
    }
    EXPECT_EQ(overflowed, expected_overflows);
    EXPECT_EQ(overflowed > 0, from.dtype == Dtype::kBF16);
  }
}

// ml_dtypes 0.5 and numpy 2 (finite values and infinities), torch's rounding being the same.
TEST(Codec, KnownCodes) {
  const auto brain = [](float x) { return cast1<uint16_t>(Dtype::kF32, x, Dtype::kBF16); };
  EXPECT_EQ(brain(1.0f), 0x3f80);
  EXPECT_EQ(brain(3.14159265f), 0x4049);
  EXPECT_EQ(brain(-0.1f), 0xbdcd);
  EXPECT_EQ(brain(1.00390625f), 0x3f80);  // tie, down to even
  EXPECT_EQ(brain(1.01171875f), 0x3f82);  // tie, up to even
  EXPECT_EQ(brain(3.4e38f), 0x7f80);      // beyond the largest by more than half a unit
  EXPECT_EQ(brain(3.39e38f), 0x7f7f);
  EXPECT_EQ(brain(1e-40f), 0x0001);
  EXPECT_EQ(brain(-0.0f), 0x8000);
  const auto half = [](float x) { return cast1<uint16_t>(Dtype::kF32, x, Dtype::kF16); };
  EXPECT_EQ(half(65519.0f), 0x7bff);
  EXPECT_EQ(half(65520.0f), 0x7c00);
  EXPECT_EQ(half(0x1p-25f), 0x0000);  // half the smallest: tie, down to even
  EXPECT_EQ(half(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(half(6.1e-5f), 0x03ff);
  EXPECT_EQ(half(-2.71828f), 0xc170);
  EXPECT_EQ(half(-HUGE_VALF), 0xfc00);
  // Through F32 this would become the tie 1.00390625 and then 0x3f80.
  EXPECT_EQ(cast1<uint16_t>(Dtype::kF64, 1.00390625 + 0x1p-40, Dtype::kBF16), 0x3f81);
}

TEST(Codec, NanPayloadIsKeptWhereItFitsAndQuiet) {
  const auto narrow = [](uint32_t bits, Dtype to) {
    return cast1<uint16_t>(Dtype::kF32, std::bit_cast<float>(bits), to);
  };
  EXPECT_EQ(narrow(0x7f800001u, Dtype::kBF16), 0x7fc0);  // would be an infinity if it were cut off
  EXPECT_EQ(narrow(0xffaa0000u, Dtype::kBF16), 0xffea);
  EXPECT_EQ(narrow(0x7fd55555u, Dtype::kBF16), 0x7fd5);
  EXPECT_EQ(narrow(0x7f800001u, Dtype::kF16), 0x7e00);
  EXPECT_EQ(narrow(0xffd54000u, Dtype::kF16), 0xfeaa);
  const auto wide = cast1<double>(Dtype::kF32, std::bit_cast<float>(0xffa00001u), Dtype::kF64);
  EXPECT_EQ(std::bit_cast<uint64_t>(wide), 0xfffc000020000000u);
  const auto back = cast1<float>(Dtype::kF64, wide, Dtype::kF32);
  EXPECT_EQ(std::bit_cast<uint32_t>(back), 0xffe00001u);
}

TEST(Codec, DoublesToSinglesAndBack) {
  // Bits from numpy.float64(x).astype(numpy.float32).
  const std::vector<double> in = {1.0 / 3, 0x1.000001p0, 0x1.000003p0,    0x1p-150, 0x1.8p-150,
                                  1e-320,  3.5e38,       0x1.fffffefp127, -0.0,     -HUGE_VAL};
  const std::vector<uint32_t> expected = {0x3eaaaaab, 0x3f800000, 0x3f800002, 0,         1, 0,
                                          0x7f800000, 0x7f7fffff, 0x80000000, 0xff800000};
  int64_t overflowed = 0;
  const auto out = cast<uint32_t>(Dtype::kF64, in, Dtype::kF32, &overflowed);
  EXPECT_EQ(out, expected);
  EXPECT_EQ(overflowed, 1);
}

TEST(Codec, SameTypeIsCopiedBitForBit) {
  EXPECT_EQ(cast1<uint16_t>(Dtype::kBF16, uint16_t{0x7f81}, Dtype::kBF16), 0x7f81);
  EXPECT_EQ(cast1<uint32_t>(Dtype::kF32, 0x7f800001u, Dtype::kF32), 0x7f800001u);
  EXPECT_TRUE(cast<uint16_t>(Dtype::kBF16, std::vector<uint16_t>{}, Dtype::kBF16).empty());
}

// Every form of a processor has the bits of the portable one, NaNs and the tails of loops included.
TEST(Codec, EveryFormHasTheSameBits) {
  std::mt19937_64 random(8);
  std::vector<uint16_t> raw = all_codes();
  for (int i = 0; i < 400'000; ++i) raw.push_back(static_cast<uint16_t>(random()));
  for (int i = 0; i < 50'000; ++i) {  // the exponents that narrower types round
    const float x = std::ldexp(static_cast<float>(random() % 4096) / 4096,
                               static_cast<int>(random() % 80) - 60);
    const auto bits = std::bit_cast<uint32_t>(x) | static_cast<uint32_t>(random() % 4096);
    raw.push_back(static_cast<uint16_t>(bits));
    raw.push_back(static_cast<uint16_t>(bits >> 16));
  }
  raw.insert(raw.end(), 4 - raw.size() % 4, uint16_t{1});
  const std::span<const std::byte> bytes = std::as_bytes(std::span(raw));
  constexpr Dtype kPlain[] = {Dtype::kF16, Dtype::kBF16, Dtype::kF32, Dtype::kF64};
  for (const Dtype from : kPlain) {
    for (const Dtype to : kPlain) {
      for (const size_t length : {bytes.size(), size_t{8 * 37}}) {
        const size_t count = length * 8 / static_cast<size_t>(bits_of(from));
        std::vector<std::byte> out(count * static_cast<size_t>(bits_of(to)) / 8);
        std::vector<std::byte> expected(out.size());
        int64_t overflowed = 0;
        int64_t expected_overflows = 0;
        cast_floats(from, bytes.first(length), to, out, overflowed);
        cast_floats_portable(from, bytes.first(length), to, expected, expected_overflows);
        EXPECT_EQ(out, expected) << safetensors_name(from) << safetensors_name(to);
        EXPECT_EQ(overflowed, expected_overflows);
      }
    }
  }
}

TEST(Codec, OverflowsOfManyBlocksAddUp) {
  const std::vector<float> in(100'003, 1e30f);
  int64_t overflowed = 0;
  const auto out = cast<uint16_t>(Dtype::kF32, in, Dtype::kF16, &overflowed);
  EXPECT_EQ(overflowed, 100'003);
  EXPECT_EQ(std::count(out.begin(), out.end(), 0x7c00), 100'003);
}

TEST(Codec, SpansNeedNoAlignment) {
  std::vector<std::byte> in(9);
  const float x = 1.5f;
  std::memcpy(in.data() + 1, &x, 4);
  std::memcpy(in.data() + 5, &x, 4);
  std::vector<std::byte> out(5);
  int64_t overflowed = 3;
  cast_floats(Dtype::kF32, std::span(in).subspan(1), Dtype::kBF16, std::span(out).subspan(1),
              overflowed);
  EXPECT_EQ(out, (std::vector<std::byte>{std::byte{0}, std::byte{0xc0}, std::byte{0x3f},
                                         std::byte{0xc0}, std::byte{0x3f}}));
  EXPECT_EQ(overflowed, 3);
}

TEST(Codec, WrongUseIsAnInternalError) {
  std::vector<std::byte> bytes(4);
  int64_t overflowed = 0;
  const auto code_of = [&](Dtype from, size_t in, Dtype to, size_t out) {
    try {
      cast_floats(from, std::span(bytes).first(in), to, std::span(bytes).first(out), overflowed);
    } catch (const Error& e) {
      return e.code();
    }
    return Code::kMismatch;
  };
  EXPECT_EQ(code_of(Dtype::kF8E4M3, 4, Dtype::kF32, 4), Code::kInternal);
  EXPECT_EQ(code_of(Dtype::kF32, 4, Dtype::kI32, 4), Code::kInternal);
  EXPECT_EQ(code_of(Dtype::kF32, 4, Dtype::kBF16, 4), Code::kInternal);
  EXPECT_EQ(code_of(Dtype::kF32, 3, Dtype::kF32, 3), Code::kInternal);
}

}  // namespace
}  // namespace bridge
