// INT4 elements: every code with scales of every kind against the definition, there and back; and
// INT4 and FP8 against compressed-tensors, which gave data/compressed_tensors (made by
// make_expected.py there).
#include <fmt/format.h>

#include <map>

#include "bridge/io/hf/safetensors.h"
#include "tests/io/file/memory_file.h"
#include "tests/io/number/block_codec_model.h"

namespace bridge {
namespace {

// Every pair of neighbours, two to a byte, the first in the low half.
std::vector<std::byte> every_pair() {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<std::byte>(i));
  return bytes;
}

std::vector<int> numbers_of(std::span<const std::byte> codes) {
  std::vector<int> numbers;
  for (const std::byte pair : codes) {
    numbers.push_back(static_cast<int>(pair & std::byte{15}) - 8);
    numbers.push_back(static_cast<int>(pair >> 4) - 8);
  }
  return numbers;
}

float rounded_to(float value, Dtype dtype) {
  return widened(narrowed({value}, dtype), dtype)[0];
}

// The value of a number under a scale, as a float.
float value_of(int number, float scale, Dtype dtype) {
  const float product = static_cast<float>(number) * scale;
  return std::isnan(product) ? single(0x7fc00000) : rounded_to(product, dtype);
}

class Int4Test : public testing::TestWithParam<NamedCodec> {
 protected:
  std::vector<std::byte> dequantized(std::span<const std::byte> codes, float scale,
                                     Dtype to) const {
    std::vector<std::byte> values(codes.size() * 2 * static_cast<size_t>(bits_of(to)) / 8);
    codec().dequantize(Dtype::kI4, codes, scale, to, values, overflowed_);
    return values;
  }
  std::vector<std::byte> found(std::span<const std::byte> values, float scale, Dtype from) const {
    std::vector<std::byte> codes(values.size() * 4 / static_cast<size_t>(bits_of(from)));
    unrepresentable_ = codec().find_codes(Dtype::kI4, from, values, scale, codes);
    return codes;
  }
  const BlockCodec& codec() const { return *GetParam().codec; }

  mutable int64_t overflowed_ = 0;
  mutable int64_t unrepresentable_ = 0;
};

TEST_P(Int4Test, EveryCodeTimesScalesOfEveryKind) {
  const std::vector<std::byte> codes = every_pair();
  const std::vector<int> numbers = numbers_of(codes);
  for (const float scale : many_scales(200)) {
    for (const Dtype to : kValueDtypes) {
      overflowed_ = 0;
      int64_t overflows = 0;
      const std::vector<float> values = widened(dequantized(codes, scale, to), to);
      for (size_t i = 0; i < values.size(); ++i) {
        const float expected = value_of(numbers[i], scale, to);
        ASSERT_EQ(bits(values[i]), bits(expected))
            << fmt::format("{} times {:a} to {}", numbers[i], scale, torch_name(to));
        const float product = static_cast<float>(numbers[i]) * scale;
        overflows += std::isfinite(product) && std::isinf(expected);
      }
      ASSERT_EQ(overflowed_, overflows) << fmt::format("scale {:a}", scale);
    }
  }
}

// Under ordinary scales every code comes back; under others, one with the same value, if the value
// is a number.
TEST_P(Int4Test, CodesComeBackFromTheirValues) {
  const std::vector<std::byte> codes = every_pair();
  for (const float scale : many_scales(200)) {
    for (const Dtype dtype : kValueDtypes) {
      const std::vector<std::byte> values = dequantized(codes, scale, dtype);
      const std::vector<std::byte> again = found(values, scale, dtype);
      const float size = std::fabs(scale);
      if (dtype != Dtype::kF16 && size >= 0x1p-100F && size <= 0x1p100F) {
        ASSERT_EQ(again, codes) << fmt::format("scale {:a}", scale);
      }
      if (!std::isfinite(scale)) continue;
      ASSERT_EQ(unrepresentable_, 0) << fmt::format("scale {:a} {}", scale, torch_name(dtype));
      ASSERT_EQ(dequantized(again, scale, dtype), values) << fmt::format("scale {:a}", scale);
    }
  }
}

// A value that no number gives has no code, and gets that of zero.
TEST_P(Int4Test, EveryBrainValueHasItsCodeOrNone) {
  for (const float scale : {1.0F, 0x1.8p-9F, -0x1.02p-7F, 0x1p-133F}) {
    std::map<uint32_t, int> number_of;
    for (int number = -8; number < 8; ++number) {
      number_of.emplace(bits(value_of(number, scale, Dtype::kBF16)), number);
    }
    std::vector<float> values;
    for (uint32_t i = 0; i < 65536; ++i) values.push_back(single(i << 16));
    const std::vector<std::byte> codes = found(narrowed(values, Dtype::kBF16), scale, Dtype::kBF16);
    const std::vector<int> numbers = numbers_of(codes);
    int64_t without = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const auto known = number_of.find(bits(values[i]));
      without += known == number_of.end();
      ASSERT_EQ(numbers[i], known == number_of.end() ? 0 : known->second)
          << fmt::format("{:a} under {:a}", values[i], scale);
    }
    EXPECT_EQ(unrepresentable_, without);
  }
}

TEST_P(Int4Test, NewScalesAreASeventhOfTheLargest) {
  EXPECT_EQ(new_scale(Dtype::kI4, Dtype::kF32, 3.5F), 0.5F);
  EXPECT_EQ(new_scale(Dtype::kI4, Dtype::kBF16, 1.0F), 0x1.24p-3F);  // of 0x1.249...p-3
  EXPECT_EQ(new_scale(Dtype::kI4, Dtype::kBF16, 0.0F), 0x1p-7F);
  EXPECT_EQ(new_scale(Dtype::kI4, Dtype::kF32, 0.0F), 0x1p-23F);
}

TEST_P(Int4Test, RoundsToTheNearestAndCountsWhatItClips) {
  const std::vector<float> values = {0.5F, 1.5F,  -0.5F, -2.5F, 7.5F,
                                     7.6F, -8.5F, -9.0F, -0.0F, single(0x7fc00000)};
  std::vector<std::byte> codes(values.size() / 2);
  int64_t clipped = 0;
  codec().quantize(Dtype::kI4, Dtype::kF32, std::as_bytes(std::span(values)), 1, codes, clipped);
  EXPECT_EQ(numbers_of(codes), (std::vector<int>{0, 2, 0, -2, 7, 7, -8, -8, 0, 0}));
  EXPECT_EQ(clipped, 2);
}

// --- compressed-tensors -------------------------------------------------------------------------

class Expected {
 public:
  Expected() : file_(read_data("compressed_tensors/expected.safetensors")) {
    MemoryBudget budget(1 << 24);
    const SafetensorsHeader header = read_safetensors_header(MemoryFile(file_), budget);
    const auto payload =
        std::as_bytes(std::span(file_)).subspan(static_cast<size_t>(header.payload_offset));
    for (const SafetensorsEntry& entry : header.entries) {
      rows_[entry.name] = static_cast<size_t>(entry.shape[0]);
      bytes_[entry.name] = payload.subspan(static_cast<size_t>(entry.begin),
                                           static_cast<size_t>(entry.end - entry.begin));
    }
  }

  size_t rows(const std::string& name) const { return rows_.at(name); }
  std::span<const std::byte> row(const std::string& name, size_t i) const {
    const size_t size = bytes_.at(name).size() / rows(name);
    return bytes_.at(name).subspan(i * size, size);
  }

 private:
  std::string file_;
  std::map<std::string, size_t> rows_;
  std::map<std::string, std::span<const std::byte>> bytes_;
};

const Expected& compressed_tensors_says() {
  static const Expected expected;
  return expected;
}

std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

TEST_P(Int4Test, DequantizesAsCompressedTensorsDoes) {
  const Expected& says = compressed_tensors_says();
  for (size_t i = 0; i < says.rows("int4.scales"); ++i) {
    const float scale = load_scale(Dtype::kBF16, says.row("int4.scales", i).data());
    const std::vector<std::byte> values =
        dequantized(says.row("int4.packed", i), scale, Dtype::kBF16);
    ASSERT_EQ(values, copy_of(says.row("int4.values", i))) << fmt::format("scale {:a}", scale);
  }
}

TEST_P(Int4Test, QuantizesAsCompressedTensorsDoes) {
  const Expected& says = compressed_tensors_says();
  constexpr size_t kGroup = 32;
  for (size_t i = 0; i < says.rows("quantized.in"); ++i) {
    for (size_t group = 0; group < 4; ++group) {
      const float scale = load_scale(Dtype::kF32, &says.row("quantized.scales", i)[4 * group]);
      const auto values = says.row("quantized.in", i).subspan(4 * kGroup * group, 4 * kGroup);
      std::vector<std::byte> codes(kGroup / 2);
      int64_t clipped = 0;
      codec().quantize(Dtype::kI4, Dtype::kF32, values, scale, codes, clipped);
      ASSERT_EQ(codes,
                copy_of(says.row("quantized.packed", i).subspan(kGroup / 2 * group, kGroup / 2)))
          << "row " << i << ", group " << group;
    }
  }
}

TEST_P(Int4Test, DequantizesFp8AsCompressedTensorsDoes) {
  const Expected& says = compressed_tensors_says();
  for (size_t i = 0; i < says.rows("fp8.scales"); ++i) {
    const float scale = load_scale(Dtype::kBF16, says.row("fp8.scales", i).data());
    const auto codes = says.row("fp8.codes", i);
    std::vector<std::byte> values(2 * codes.size());
    codec().dequantize(Dtype::kF8E4M3, codes, scale, Dtype::kBF16, values, overflowed_);
    ASSERT_EQ(values, copy_of(says.row("fp8.values", i))) << fmt::format("scale {:a}", scale);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Int4Test, testing::ValuesIn(every_codec()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
