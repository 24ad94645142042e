// Made quantized matrices for the tests of kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "models/cuda/dequantization.h"

namespace models::cuda {

inline size_t size_of(ScaleFormat format) {
  if (format == ScaleFormat::kF32) return 4;
  return format == ScaleFormat::kBF16 ? 2 : 1;
}

// A quantized matrix in memory, of which a job is made with pointers to it or to copies.
struct Matrix {
  CodeFormat code_format;
  ScaleFormat scale_format;
  int64_t rows;
  int32_t columns;
  int32_t block_columns;
  std::vector<std::byte> codes = {};
  std::vector<std::byte> scales = {};
  std::vector<int32_t> scale_row = {};

  int32_t blocks() const { return (columns - 1) / block_columns + 1; }

  // Any bytes as codes and scales, of which each row takes one row.
  void fill(int32_t scale_rows, std::mt19937& random) {
    const int64_t per_byte = is_half_byte(code_format) ? 2 : 1;
    codes.resize(static_cast<size_t>(rows * columns / per_byte));
    for (std::byte& code : codes) code = static_cast<std::byte>(random());
    scales.resize(static_cast<size_t>(scale_rows * blocks()) * size_of(scale_format));
    for (std::byte& byte : scales) byte = static_cast<std::byte>(random());
    for (int64_t row = 0; row < rows; ++row) {
      scale_row.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(scale_rows)));
    }
  }

  Dequantization job(void* values, ValueFormat to) const {
    return {codes.data(), scales.data(), scale_row.data(), values,       rows,
            columns,      block_columns, code_format,      scale_format, to};
  }
};

}  // namespace models::cuda
