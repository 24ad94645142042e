// Quantized elements, each form of the codec against the definition of block_codec_model.h: every
// code with every E8M0 scale and with scales of every kind, every BF16 value, edges by hand.
#include "bridge/io/number/block_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "bridge/io/base/error.h"
#include "tests/io/number/block_codec_model.h"

namespace bridge {
namespace {

class BlockCodecTest : public testing::TestWithParam<std::tuple<NamedCodec, ModelFormat>> {
 protected:
  const BlockCodec& codec() const { return *std::get<0>(GetParam()).codec; }
  const ModelFormat& format() const { return std::get<1>(GetParam()); }
  Runner runner() const { return {codec(), format()}; }

  void expect_dequantized(float scale, Dtype to) const {
    const std::vector<int> codes = every_code(format());
    int64_t overflowed = 0;
    const auto values = widened(runner().dequantize(codes, scale, to, &overflowed), to);
    int64_t expected_overflows = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      const float expected = format().dequantize(codes[i], scale, to);
      ASSERT_EQ(bits(values[i]), bits(expected))
          << fmt::format("code {:#x} scale {:a} to {}", codes[i], scale, torch_name(to));
      const float product = static_cast<float>(format().value(codes[i])) * scale;
      expected_overflows +=
          !format().is_nan(codes[i]) && std::isfinite(product) && std::isinf(expected);
    }
    ASSERT_EQ(overflowed, expected_overflows) << fmt::format("scale {:a}", scale);
  }

  void expect_found(const std::vector<float>& values, float scale, Dtype from) const {
    int64_t unrepresentable = 0;
    const auto codes = runner().find_codes(narrowed(values, from), scale, from, &unrepresentable);
    int64_t expected_unrepresentable = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const std::optional<int> expected = format().find_code(values[i], scale, from);
      ASSERT_EQ(codes[i], expected.value_or(0))
          << fmt::format("value {:a} scale {:a} {}", values[i], scale, torch_name(from));
      expected_unrepresentable += !expected;
    }
    ASSERT_EQ(unrepresentable, expected_unrepresentable) << fmt::format("scale {:a}", scale);
  }
};

TEST_P(BlockCodecTest, EveryCodeTimesEveryE8m0Scale) {
  for (const float scale : e8m0_scales()) {
    for (const Dtype to : kValueDtypes) expect_dequantized(scale, to);
  }
}

TEST_P(BlockCodecTest, EveryCodeTimesScalesOfEveryKind) {
  for (const float scale : many_scales(200)) {
    for (const Dtype to : kValueDtypes) expect_dequantized(scale, to);
  }
}

// What convert-hf checks: the codes come back, or differ where a witness is stored. Between 2^-100
// and 2^100 they come back; only F16, which is narrower than that, loses some.
TEST_P(BlockCodecTest, CodesComeBackFromTheirValues) {
  std::vector<float> scales = e8m0_scales();
  for (const float scale : many_scales(200)) scales.push_back(scale);
  const std::vector<int> codes = every_code(format());
  int64_t lost = 0;
  for (const float scale : scales) {
    for (const Dtype dtype : kValueDtypes) {
      const auto values = runner().dequantize(codes, scale, dtype);
      int64_t unrepresentable = 0;
      const auto found = runner().find_codes(values, scale, dtype, &unrepresentable);
      const bool nan_without_code = !format().has_nan() && !std::isfinite(scale);
      if (!nan_without_code) {
        ASSERT_EQ(unrepresentable, 0) << fmt::format("scale {:a}", scale);
      }
      const float size = std::fabs(scale);
      if (dtype != Dtype::kF16 && size >= 0x1p-100f && size <= 0x1p100f) {
        ASSERT_EQ(found, codes) << fmt::format("scale {:a} {}", scale, torch_name(dtype));
      }
      // Where they differ, the value is the same: the code found is another name for it.
      const auto again = runner().dequantize(found, scale, dtype);
      if (unrepresentable == 0) {
        ASSERT_EQ(again, values) << fmt::format("scale {:a}", scale);
      }
      lost += found != codes;
    }
  }
  EXPECT_GT(lost, 50);
}

TEST_P(BlockCodecTest, FindsEveryDequantizedValueByTheRule) {
  for (const float scale : many_scales(30)) {
    for (const Dtype dtype : kValueDtypes) {
      const auto values = runner().dequantize(every_code(format()), scale, dtype);
      expect_found(widened(values, dtype), scale, dtype);
    }
  }
}

TEST_P(BlockCodecTest, EveryBrainAndHalfValueHasItsCodeOrNone) {
  std::vector<uint16_t> codes(65536);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint16_t>(i);
  std::vector<float> scales = {1.0f,   -0x1.8p-13f, 0x1.234568p-13f, 0x1p119f,   0x1.24924ap119f,
                               146.0f, 0.0f,        HUGE_VALF,       -HUGE_VALF, std::nanf("")};
  // Products around and below the smallest numbers of each type, where roundings are coarse.
  std::mt19937 random(9);
  for (const int exponent :
       {-145, -140, -135, -130, -127, -32, -26, -24, -22, -20, -17, -15, -13}) {
    scales.push_back(std::ldexp(1.0f, exponent));
    for (const auto mantissa : {1u, 0x7fffffu, 0x400000u, static_cast<unsigned>(random() >> 9)}) {
      scales.push_back(std::ldexp(single(0x3f800000 | mantissa), exponent));
    }
  }
  for (const float scale : scales) {
    for (const Dtype dtype : {Dtype::kBF16, Dtype::kF16}) {
      // The model, once per distinct code, is slow: only what some code gives can have one.
      std::vector<uint32_t> representable;
      for (const int code : every_code(format())) {
        representable.push_back(bits(format().dequantize(code, scale, dtype)));
      }
      std::sort(representable.begin(), representable.end());
      int64_t unrepresentable = 0;
      const auto raw = std::as_bytes(std::span(codes));
      const auto values = widened(raw, dtype);
      const auto found = runner().find_codes(raw, scale, dtype, &unrepresentable);
      int64_t expected_unrepresentable = 0;
      for (size_t i = 0; i < codes.size(); ++i) {
        const bool possible =
            std::binary_search(representable.begin(), representable.end(), bits(values[i]));
        const auto expected = possible ? format().find_code(values[i], scale, dtype) : std::nullopt;
        ASSERT_EQ(found[i], expected.value_or(0))
            << fmt::format("{} {:#06x} scale {:a}", torch_name(dtype), i, scale);
        expected_unrepresentable += !expected;
      }
      ASSERT_EQ(unrepresentable, expected_unrepresentable) << fmt::format("scale {:a}", scale);
    }
  }
}

// F32 has too many values for all of them: those around each dequantized one, and random ones.
TEST_P(BlockCodecTest, SinglesNextToACodeHaveNone) {
  std::mt19937 random(3);
  std::vector<float> scales = {1.0f,      0x1.234568p-13f, -0x1.8p-20f,
                               0x1p-130f, 0x1.6p-149f,     0x1p119f};
  for (int i = 0; i < 40; ++i) scales.push_back(single(static_cast<uint32_t>(random() >> 5)));
  for (const float scale : scales) {
    std::vector<float> values = {0.0f, -0.0f, HUGE_VALF, single(0x7f800001), single(0xffc00001)};
    for (const int code : every_code(format())) {
      const float value = format().dequantize(code, scale, Dtype::kF32);
      for (const float to : {-HUGE_VALF, HUGE_VALF}) values.push_back(std::nextafterf(value, to));
    }
    for (int i = 0; i < 100; ++i) values.push_back(single(static_cast<uint32_t>(random())));
    if (values.size() % 2 != 0) values.push_back(1.0f);
    expect_found(values, scale, Dtype::kF32);
  }
}

TEST_P(BlockCodecTest, QuantizesToTheNearest) {
  std::vector<float> quotients = {0.0f,       -0.0f,         HUGE_VALF,
                                  -HUGE_VALF, std::nanf(""), -std::nanf("")};
  for (int code = 0; code < format().largest; ++code) {
    const double low = format().value(code);
    const double high = format().value(code + 1);
    for (const double exact : {low, high, (low + high) / 2}) {
      const auto middle = static_cast<float>(exact);
      for (const float x :
           {std::nextafterf(middle, -1), middle, std::nextafterf(middle, HUGE_VALF)}) {
        quotients.insert(quotients.end(), {x, -x});
      }
    }
  }
  std::mt19937 random(4);
  for (int i = 0; i < 2000; ++i) quotients.push_back(single(static_cast<uint32_t>(random())));
  std::vector<float> scales = many_scales(3);
  scales.insert(scales.begin(), {1.0f, 0x1p-20f});
  for (const float scale : scales) {
    std::vector<float> values;
    for (const float q : quotients) values.push_back(std::isfinite(scale) ? q * scale : q);
    for (const Dtype dtype : kValueDtypes) {
      const auto raw = narrowed(values, dtype);
      const auto held = widened(raw, dtype);
      int64_t clipped = 0;
      const auto codes = runner().quantize(raw, scale, dtype, &clipped);
      int64_t expected_clipped = 0;
      for (size_t i = 0; i < held.size(); ++i) {
        ASSERT_EQ(codes[i], format().quantize(held[i], scale))
            << fmt::format("{:a} scale {:a} {}", held[i], scale, torch_name(dtype));
        expected_clipped += std::fabs(held[i] / scale) > (format().has_nan() ? 464.0f : 7.0f);
      }
      ASSERT_EQ(clipped, expected_clipped) << fmt::format("scale {:a}", scale);
    }
  }
}

// Every length from empty up, nothing aligned: the same as the reference, and no byte beyond.
TEST_P(BlockCodecTest, AnyLengthAtAnyAddress) {
  std::mt19937 random(6);
  const float scale = 0x1.234568p-6f;
  for (size_t length = 0; length <= 200; length += format().has_nan() ? 1 : 2) {
    std::vector<int> codes(length);
    for (int& code : codes)
      code = static_cast<int>(random() % static_cast<unsigned>(format().codes()));
    const std::vector<std::byte> run = packed(format(), codes);
    for (const Dtype dtype : kValueDtypes) {
      const size_t bytes = length * static_cast<size_t>(bits_of(dtype)) / 8;
      const auto expected = Runner{scalar_block_codec(), format()}.dequantize(codes, scale, dtype);
      std::vector<std::byte> source(run.size() + 1);
      std::copy(run.begin(), run.end(), source.begin() + 1);
      std::vector<std::byte> values(bytes + 2, std::byte{0x5a});
      int64_t overflowed = 7;
      codec().dequantize(format().format, std::span(source).subspan(1), scale, dtype,
                         std::span(values).subspan(1, bytes), overflowed);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), values.begin() + 1));
      EXPECT_EQ(values.front(), std::byte{0x5a});
      EXPECT_EQ(values.back(), std::byte{0x5a});
      EXPECT_EQ(overflowed, 7);

      for (const bool find : {true, false}) {
        std::vector<std::byte> back(run.size() + 2, std::byte{0x5a});
        const auto target = std::span(back).subspan(1, run.size());
        int64_t count = 0;
        if (find) {
          count = codec().find_codes(format().format, dtype, std::span(values).subspan(1, bytes),
                                     scale, target);
        } else {
          codec().quantize(format().format, dtype, std::span(values).subspan(1, bytes), scale,
                           target, count);
        }
        ASSERT_TRUE(std::equal(run.begin(), run.end(), target.begin())) << length << ' ' << find;
        EXPECT_EQ(back.front(), std::byte{0x5a});
        EXPECT_EQ(back.back(), std::byte{0x5a});
        EXPECT_EQ(count, 0);
      }
    }
  }
}

TEST_P(BlockCodecTest, LargestMagnitude) {
  const auto amax = [&](std::vector<float> values, Dtype dtype) {
    return bits(codec().amax(dtype, narrowed(values, dtype)));
  };
  for (const Dtype dtype : kValueDtypes) {
    EXPECT_EQ(amax({}, dtype), 0u);
    EXPECT_EQ(amax({-0.0f}, dtype), 0u);
    for (size_t at = 0; at < 40; ++at) {
      std::vector<float> values(40, -1.5f);
      values[at] = -3.25f;
      EXPECT_EQ(amax(values, dtype), bits(3.25f)) << at;
      values[at] = -HUGE_VALF;
      EXPECT_EQ(amax(values, dtype), bits(HUGE_VALF)) << at;
      values[at] = single(0xff800001);
      EXPECT_EQ(amax(values, dtype), 0x7fc00000u) << at;
    }
  }
  EXPECT_EQ(amax({0x1p-149f, -0x1p-148f}, Dtype::kF32), 2u);
}

TEST_P(BlockCodecTest, WrongUseIsAnInternalError) {
  std::vector<std::byte> bytes(8);
  int64_t count = 0;
  const auto refused = [&](Dtype format, size_t codes, Dtype dtype, size_t values) {
    const auto code_run = std::span(bytes).first(codes);
    const auto value_run = std::span(bytes).first(values);
    int refusals = 0;
    for (const int which : {0, 1, 2}) {
      try {
        if (which == 0) codec().dequantize(format, code_run, 1, dtype, value_run, count);
        if (which == 1) codec().find_codes(format, dtype, value_run, 1, code_run);
        if (which == 2) codec().quantize(format, dtype, value_run, 1, code_run, count);
      } catch (const Error& e) {
        refusals += e.code() == Code::kInternal;
      }
    }
    return refusals;
  };
  EXPECT_THROW(codec().amax(Dtype::kF32, std::span(bytes).first(7)), Error);
  EXPECT_THROW(codec().amax(Dtype::kF64, bytes), Error);
  EXPECT_EQ(refused(Dtype::kF8E5M2, 2, Dtype::kF32, 8), 3);
  EXPECT_EQ(refused(Dtype::kF8E4M3, 1, Dtype::kF64, 8), 3);
  EXPECT_EQ(refused(Dtype::kF8E4M3, 2, Dtype::kF32, 4), 3);
  EXPECT_EQ(refused(Dtype::kF4E2M1, 2, Dtype::kBF16, 4), 3);
  EXPECT_EQ(refused(Dtype::kF8E4M3, 2, Dtype::kF32, 7), 3);
}

INSTANTIATE_TEST_SUITE_P(Forms, BlockCodecTest,
                         testing::Combine(testing::ValuesIn(every_codec()),
                                          testing::Values(kFp8, kFp4)),
                         [](const auto& test) {
                           return std::get<0>(test.param).name +
                                  (std::get<1>(test.param).has_nan() ? "Fp8" : "Fp4");
                         });

}  // namespace
}  // namespace bridge
