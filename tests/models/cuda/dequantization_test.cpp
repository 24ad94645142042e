// Dequantization on a GPU, run on the CPU over the whole grid: every code with every scale, bit for
// bit what the scalar codec gives; INT4, which that codec does not have, by its definition.
#include "models/cuda/dequantization.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "tests/io/number/block_codec_model.h"
#include "tests/models/cuda/host_grid.h"
#include "tests/models/cuda/quantized_matrix.h"
#include "tests/narrow_float.h"

namespace models::cuda {
namespace {

using bridge::Dtype;

Dtype dtype_of(CodeFormat format) {
  return format == CodeFormat::kE4m3 ? Dtype::kF8E4M3 : Dtype::kF4E2M1;
}
Dtype dtype_of(ScaleFormat format) {
  if (format == ScaleFormat::kF32) return Dtype::kF32;
  return format == ScaleFormat::kBF16 ? Dtype::kBF16 : Dtype::kF8E8M0;
}
Dtype dtype_of(ValueFormat format) {
  return format == ValueFormat::kF32 ? Dtype::kF32 : Dtype::kBF16;
}
size_t bytes_of(Dtype dtype) {
  return static_cast<size_t>(bridge::bits_of(dtype)) / 8;
}

std::vector<std::byte> on_the_grid(const Matrix& matrix, ValueFormat to) {
  std::vector<std::byte> values(
      static_cast<size_t>(matrix.rows * matrix.columns) * bytes_of(dtype_of(to)), std::byte{0xa5});
  run_map(matrix.job(values.data(), to));
  return values;
}

// The same by the scalar codec, one row of a block after the other.
std::vector<std::byte> by_the_codec(const Matrix& matrix, ValueFormat to) {
  const Dtype format = dtype_of(matrix.code_format);
  const Dtype scale_format = dtype_of(matrix.scale_format);
  const auto code_bits = static_cast<size_t>(bridge::bits_of(format));
  const size_t size = bytes_of(dtype_of(to));
  const auto columns = static_cast<size_t>(matrix.columns);
  const auto block_columns = static_cast<size_t>(matrix.block_columns);
  const auto blocks = static_cast<size_t>(matrix.blocks());
  std::vector<std::byte> values(static_cast<size_t>(matrix.rows) * columns * size);
  for (size_t row = 0; row < static_cast<size_t>(matrix.rows); ++row) {
    for (size_t block = 0; block < blocks; ++block) {
      const size_t first = block * block_columns;
      const size_t count = std::min(block_columns, columns - first);
      const size_t at = row * columns + first;
      const size_t scale = static_cast<size_t>(matrix.scale_row[row]) * blocks + block;
      int64_t overflowed = 0;
      bridge::scalar_block_codec().dequantize(
          format, std::span(matrix.codes).subspan(at * code_bits / 8, count * code_bits / 8),
          bridge::load_scale(scale_format, matrix.scales.data() + scale * bytes_of(scale_format)),
          dtype_of(to), std::span(values).subspan(at * size, count * size), overflowed);
    }
  }
  return values;
}

// A row for every scale, each with every byte as codes.
Matrix every_code_with(CodeFormat format, ScaleFormat scale_format,
                       const std::vector<std::byte>& scales) {
  Matrix matrix{format, scale_format, 0, is_half_byte(format) ? 512 : 256, 512, {}, scales};
  matrix.rows = static_cast<int64_t>(scales.size() / bytes_of(dtype_of(scale_format)));
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int byte = 0; byte < 256; ++byte) matrix.codes.push_back(static_cast<std::byte>(byte));
    matrix.scale_row.push_back(static_cast<int32_t>(row));
  }
  return matrix;
}

void expect_as_the_codec(const Matrix& matrix) {
  for (const ValueFormat to : {ValueFormat::kBF16, ValueFormat::kF32}) {
    const std::vector<std::byte> expected = by_the_codec(matrix, to);
    const std::vector<std::byte> found = on_the_grid(matrix, to);
    const auto [at, other] = std::mismatch(found.begin(), found.end(), expected.begin());
    EXPECT_EQ(at, found.end()) << fmt::format(
        "code format {}, scale format {}, to {}: element {}", static_cast<int>(matrix.code_format),
        static_cast<int>(matrix.scale_format), bridge::torch_name(dtype_of(to)),
        static_cast<size_t>(at - found.begin()) / bytes_of(dtype_of(to)));
  }
}

TEST(CudaDequantization, EveryCodeTimesEveryE8m0Scale) {
  std::vector<std::byte> scales;
  for (int byte = 0; byte < 256; ++byte) scales.push_back(static_cast<std::byte>(byte));
  for (const CodeFormat format : {CodeFormat::kE4m3, CodeFormat::kE2m1}) {
    expect_as_the_codec(every_code_with(format, ScaleFormat::kE8m0, scales));
  }
}

TEST(CudaDequantization, EveryCodeTimesBrainScalesOfEveryExponent) {
  std::vector<std::byte> scales;
  for (uint32_t code = 0; code < 65536; code += 13) {
    scales.push_back(static_cast<std::byte>(code & 0xff));
    scales.push_back(static_cast<std::byte>(code >> 8));
  }
  for (const CodeFormat format : {CodeFormat::kE4m3, CodeFormat::kE2m1}) {
    expect_as_the_codec(every_code_with(format, ScaleFormat::kBF16, scales));
  }
}

TEST(CudaDequantization, EveryCodeTimesScalesOfEveryKind) {
  const std::vector<float> many = bridge::many_scales(400);
  const auto bytes = std::as_bytes(std::span(many));
  const std::vector<std::byte> scales(bytes.begin(), bytes.end());
  for (const CodeFormat format : {CodeFormat::kE4m3, CodeFormat::kE2m1}) {
    expect_as_the_codec(every_code_with(format, ScaleFormat::kF32, scales));
  }
}

// Blocks that the edge cuts, rows in another order than their scales, and runs of a thread that the
// row cuts.
TEST(CudaDequantization, BlocksOfAnyGeometry) {
  std::mt19937 random(11);
  for (Matrix matrix : {Matrix{CodeFormat::kE4m3, ScaleFormat::kF32, 300, 333, 128},
                        Matrix{CodeFormat::kE4m3, ScaleFormat::kE8m0, 5, 1, 128},
                        Matrix{CodeFormat::kE4m3, ScaleFormat::kBF16, 9, 37, 5},
                        Matrix{CodeFormat::kE2m1, ScaleFormat::kE8m0, 67, 352, 32},
                        Matrix{CodeFormat::kE2m1, ScaleFormat::kF32, 3, 46, 32}}) {
    matrix.fill(7, random);
    expect_as_the_codec(matrix);
  }
}

// (code - 8) * scale is exact in double, and rounding it is what narrow_float.h defines.
TEST(CudaDequantization, EveryInt4TimesEveryBrainScale) {
  std::vector<std::byte> codes;
  std::vector<uint16_t> scales;
  std::vector<int32_t> scale_row;
  for (int32_t scale = 0; scale < 65536; ++scale) {
    for (int pair = 0; pair < 8; ++pair) {
      codes.push_back(static_cast<std::byte>(2 * pair | (2 * pair + 1) << 4));
    }
    scales.push_back(static_cast<uint16_t>(scale));
    scale_row.push_back(scale);
  }
  std::vector<uint16_t> values(65536 * 16);
  run_map(Dequantization{codes.data(), scales.data(), scale_row.data(), values.data(), 65536, 16,
                         32, CodeFormat::kInt4, ScaleFormat::kBF16, ValueFormat::kBF16});
  for (size_t i = 0; i < values.size(); ++i) {
    const int number = static_cast<int>(i % 16) - 8;
    const double exact = number * bridge::kBrain.value(static_cast<uint16_t>(i / 16));
    const int expected =
        std::isnan(exact) ? (number < 0 ? 0xffc0 : 0x7fc0) : bridge::kBrain.nearest(exact);
    ASSERT_EQ(values[i], expected) << fmt::format("{} times {:#06x}", number, i / 16);
  }
}

// Eight numbers of one int32 of compressed-tensors: -8 to -1, the first in the lowest bits.
TEST(CudaDequantization, Int4OfAnInt32) {
  const uint32_t packed = 0x76543210;
  const float scale = 0.5F;
  const int32_t scale_row = 0;
  std::vector<float> values(8);
  run_map(Dequantization{&packed, &scale, &scale_row, values.data(), 1, 8, 32, CodeFormat::kInt4,
                         ScaleFormat::kF32, ValueFormat::kF32});
  EXPECT_EQ(values, (std::vector<float>{-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5}));
}

}  // namespace
}  // namespace models::cuda
