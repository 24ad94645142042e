// Tests minus_one, which places elements like copy. The values, minus one and plus one, are checked
// against double arithmetic: every code of BF16 and F16, and F32 of every size, to every dtype. A
// sum in double rounds to F32 as the exact sum does (53 >= 2 * 24 + 2 bits); rounding to BF16 and
// F16 is a search.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>

#include "bridge/convert/algebra/value_change.h"
#include "tests/convert/algebra/op/op_property.h"
#include "tests/narrow_float.h"

namespace bridge {
namespace {

const ValueChange kMinusOne = ops::kMinusOne.values;
const ValueChange kPlusOne = mappings::inverse_of(kMinusOne);

TEST(MinusOneOp, FollowsItsDefinition) {
  expect_definition(ops::kMinusOne, [](Maker& make) {
    Example e{.shapes = {{make.up_to(7), make.up_to(5)}}};
    e.parts = {make.fresh(element_count(e.shapes[0]))};
    e.megatron = e.parts[0];
    e.megatron_shape = e.shapes[0];
    return e;
  });
  EXPECT_EQ(OpLayout(ops::kMinusOne, {{3}}, {}).value_change(), kMinusOne);
}

TEST(MinusOneOp, Refuses) {
  expect_refused(ops::kMinusOne, {{"NegativeDimension", {{-1}}, {}, "negative dimension"}});
}

constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kInfinity = 0x7f800000;
constexpr uint32_t kQuiet = 0x00400000;

const Narrow& narrow(Dtype dtype) {
  return dtype == Dtype::kF16 ? kHalf : kBrain;
}

int64_t size_of(Dtype dtype) {
  return bits_of(dtype) / 8;
}

struct Number {
  double value;
  uint32_t nan;  // F32 bits of a NaN with the same sign and payload, else 0
};

Number number_of(Dtype dtype, uint32_t bits) {
  if (dtype == Dtype::kF32) {
    const bool nan = (bits & ~kSign) > kInfinity;
    return {static_cast<double>(std::bit_cast<float>(bits)), nan ? bits : 0};
  }
  const Narrow& format = narrow(dtype);
  const auto code = static_cast<uint16_t>(bits);
  const auto payload = static_cast<uint32_t>(code & (format.quiet() * 2 - 1));
  const uint32_t nan = (code & 0x8000U) << 16 | kInfinity | payload << (23 - format.mantissa_bits);
  return {format.value(code), format.is_nan(code) ? nan : 0};
}

uint32_t expected_bits(Number number, double one, Dtype to) {
  if (to == Dtype::kF32) {
    if (number.nan != 0) return number.nan | kQuiet;
    return std::bit_cast<uint32_t>(static_cast<float>(number.value + one));
  }
  const Narrow& format = narrow(to);
  if (number.nan != 0) {
    const uint32_t payload = (number.nan | kQuiet) & (kInfinity ^ ~kSign);
    return (number.nan & kSign) >> 16 | format.infinity() | payload >> (23 - format.mantissa_bits);
  }
  return format.nearest(static_cast<double>(static_cast<float>(number.value + one)));
}

std::string bytes_of_bits(Dtype dtype, const std::vector<uint32_t>& all) {
  std::string bytes;
  for (const uint32_t bits : all) {
    bytes.append(reinterpret_cast<const char*>(&bits), static_cast<size_t>(size_of(dtype)));
  }
  return bytes;
}

uint32_t bits_at(Dtype dtype, const std::string& bytes, size_t i) {
  const auto size = static_cast<size_t>(size_of(dtype));
  uint32_t bits = 0;
  std::memcpy(&bits, &bytes[i * size], size);
  return bits;
}

std::vector<uint32_t> sources(Dtype dtype) {
  std::vector<uint32_t> all;
  if (dtype != Dtype::kF32) {
    for (const uint16_t code : all_codes()) all.push_back(code);
    return all;
  }
  // Values around everything that changes how a sum rounds: signs, one half, one, two, the last
  // place beside one, the largest value of each dtype, and what lies between two values of BF16 and
  // F16.
  std::mt19937 random(7);
  for (const uint32_t sign : {0U, kSign}) {
    for (uint32_t exponent = 0; exponent < 256; ++exponent) {
      for (const uint32_t mantissa : {0U, 1U, 0xfffU, 0x1000U, 0x1001U, 0x7fffU, 0x8000U, 0x8001U,
                                      0x18000U, 0x3fffffU, 0x400000U, 0x400001U, 0x7fffffU}) {
        all.push_back(sign | exponent << 23 | mantissa);
      }
    }
    for (uint32_t near = 0; near < 4096; ++near) {
      all.push_back(sign | (std::bit_cast<uint32_t>(1.0F) - 2048 + near));
      all.push_back(sign | (std::bit_cast<uint32_t>(65520.0F) - 2048 + near));
      all.push_back(sign | (std::bit_cast<uint32_t>(1.00390625F) - 2048 + near));
    }
  }
  for (int i = 0; i < 200'000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    all.push_back(bits);
    all.push_back((bits & 0x80ffffff) | 0x3f000000);  // in the range of a norm's weight
  }
  return all;
}

struct Combination {
  Dtype from;
  Dtype to;
};

class MinusOneValues : public testing::TestWithParam<Combination> {};

TEST_P(MinusOneValues, IsTheRoundedSum) {
  const auto [from, to] = GetParam();
  const std::vector<uint32_t> all = sources(from);
  const std::string in = bytes_of_bits(from, all);
  for (const ValueChange change : {kMinusOne, kPlusOne}) {
    const double one = change == kMinusOne ? -1 : 1;
    std::string out(all.size() * static_cast<size_t>(size_of(to)), '\x55');
    int64_t overflowed = 0;
    change_values(change, from, std::as_bytes(std::span(in)), to,
                  std::as_writable_bytes(std::span(out)), overflowed);
    int64_t became_infinite = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const Number number = number_of(from, all[i]);
      const uint32_t expected = expected_bits(number, one, to);
      ASSERT_EQ(bits_at(to, out, i), expected) << std::hex << all[i] << " and " << one;
      const bool infinite = number.nan == 0 && std::isinf(number_of(to, expected).value);
      if (infinite && std::isfinite(number.value)) ++became_infinite;
    }
    EXPECT_EQ(overflowed, became_infinite);
  }
}

constexpr Dtype kF32 = Dtype::kF32;
constexpr Dtype kBF16 = Dtype::kBF16;
constexpr Dtype kF16 = Dtype::kF16;
INSTANTIATE_TEST_SUITE_P(Dtypes, MinusOneValues,
                         testing::Values(Combination{kBF16, kBF16}, Combination{kBF16, kF32},
                                         Combination{kBF16, kF16}, Combination{kF16, kF16},
                                         Combination{kF16, kF32}, Combination{kF16, kBF16},
                                         Combination{kF32, kF32}, Combination{kF32, kBF16},
                                         Combination{kF32, kF16}),
                         [](const auto& test) {
                           return std::string(safetensors_name(test.param.from)) + "To" +
                                  std::string(safetensors_name(test.param.to));
                         });

// Values that torch 2.11 computes for (w.float() - 1).to(dtype) and (m.float() + 1).to(dtype).
TEST(MinusOneOp, KnownValues) {
  struct Known {
    Dtype dtype;
    uint32_t weight;
    uint32_t less_one;
    uint32_t again;
  };
  const Known known[] = {
      {kBF16, 0x3f80, 0x0, 0x3f80},                // 1.0
      {kBF16, 0x3f00, 0xbf00, 0x3f00},             // 0.5
      {kBF16, 0x3eff, 0xbf00, 0x3f00},             // 0.498046875
      {kBF16, 0x3e9a, 0xbf33, 0x3e9a},             // 0.30078125
      {kBF16, 0x8000, 0xbf80, 0x0},                // -0.0
      {kBF16, 0x0, 0xbf80, 0x0},                   // 0.0
      {kBF16, 0x3f81, 0x3c00, 0x3f81},             // 1.0078125
      {kBF16, 0x4000, 0x3f80, 0x4000},             // 2.0
      {kBF16, 0x437f, 0x437e, 0x437f},             // 255.0
      {kBF16, 0x4380, 0x437f, 0x4380},             // 256.0
      {kBF16, 0x4380, 0x437f, 0x4380},             // 256.0
      {kBF16, 0x4381, 0x4380, 0x4380},             // 258.0
      {kBF16, 0xbe00, 0xbf90, 0xbe00},             // -0.125
      {kBF16, 0xda2, 0xbf80, 0x0},                 // 9.98402083170343e-31
      {kF16, 0x3c00, 0x0, 0x3c00},                 // 1.0
      {kF16, 0x34cd, 0xb99a, 0x34cc},              // 0.300048828125
      {kF16, 0x8000, 0xbc00, 0x0},                 // -0.0
      {kF16, 0x4000, 0x3c00, 0x4000},              // 2.0
      {kF16, 0x67ff, 0x67fe, 0x67ff},              // 2047.0
      {kF16, 0x6800, 0x67ff, 0x6800},              // 2048.0
      {kF16, 0x7bff, 0x7bff, 0x7bff},              // 65504.0
      {kF16, 0xfbff, 0xfbff, 0xfbff},              // -65504.0
      {kF16, 0x1, 0xbc00, 0x0},                    // 5.960464477539063e-08
      {kF32, 0x3f800000, 0x0, 0x3f800000},         // 1.0
      {kF32, 0x3e99999a, 0xbf333333, 0x3e99999a},  // 0.30000001192092896
      {kF32, 0x80000000, 0xbf800000, 0x0},         // -0.0
      {kF32, 0x3f8ccccd, 0x3dccccd0, 0x3f8ccccd},  // 1.100000023841858
      {kF32, 0x4b800000, 0x4b7fffff, 0x4b800000},  // 16777216.0
      {kF32, 0x4b800000, 0x4b7fffff, 0x4b800000},  // 16777216.0
      {kF32, 0x322bcc77, 0xbf800000, 0x0},         // 9.99999993922529e-09
      {kF32, 0x7f7fffff, 0x7f7fffff, 0x7f7fffff},  // 3.4028234663852886e+38
  };
  for (const Known& k : known) {
    const auto changed = [&](ValueChange change, uint32_t bits) {
      const std::string in = bytes_of_bits(k.dtype, {bits});
      std::string out(in.size(), '\0');
      int64_t overflowed = 0;
      change_values(change, k.dtype, std::as_bytes(std::span(in)), k.dtype,
                    std::as_writable_bytes(std::span(out)), overflowed);
      EXPECT_EQ(overflowed, 0);
      return bits_at(k.dtype, out, 0);
    };
    EXPECT_EQ(changed(kMinusOne, k.weight), k.less_one) << std::hex << k.weight;
    EXPECT_EQ(changed(kPlusOne, k.less_one), k.again) << std::hex << k.weight;
  }
}

// minus_one is the only op that changes values; both directions undo each other if nothing rounds.
TEST(MinusOneOp, ChangesValues) {
  for (const mappings::Op* op : mappings::all_ops()) {
    EXPECT_EQ(op->changes_values(), op == &ops::kMinusOne) << op->name;
    EXPECT_EQ(mappings::inverse_of(mappings::inverse_of(op->values)), op->values) << op->name;
  }
  std::vector<float> values = {1, 0.5, -3, 256};
  kMinusOne.apply(values);
  EXPECT_EQ(values, (std::vector<float>{0, -0.5, -4, 255}));
  kPlusOne.apply(values);
  EXPECT_EQ(values, (std::vector<float>{1, 0.5, -3, 256}));
}

}  // namespace
}  // namespace bridge
