// Quantized rows to values, as block_codec.h defines them: one F32 product of code and scale, one
// rounding, and the quiet NaN without payload that has the sign of the code.
//
//   kE4m3   a byte each
//   kE2m1   two to a byte, the even column in the low half
//   kInt4   two to a byte as kE2m1, each 8 more than the number it stands for. Eight to an int32 of
//           compressed-tensors, the first in the lowest bits, are the same bytes.
//
// The scale of an element is at [row of its scales, column / block_columns]. Both parts of a matrix
// come as stored, so a canonical tensor may be any of its rows.
// Truth: block_codec.h; compressed_tensors/compressors/pack_quantized (pack_to_int32); for blocks
// of gpt-oss, transformers/integrations/mxfp4.py (kE2m1 with kE8m0 and 32 columns).
#pragma once

#include <cstdint>

#include "bridge/io/number/small_float.h"
#include "models/cuda/host_device.h"

namespace models::cuda {

enum class CodeFormat : int32_t { kE4m3, kE2m1, kInt4 };
enum class ScaleFormat : int32_t { kF32, kBF16, kE8m0 };
enum class ValueFormat : int32_t { kBF16, kF32 };

CAUSEWAY_HOST_DEVICE inline bool is_half_byte(CodeFormat format) {
  return format != CodeFormat::kE4m3;
}

// The value of a code without its sign, which is no NaN.
template <typename F>
CAUSEWAY_HOST_DEVICE inline float magnitude_of(int magnitude) {
  if (magnitude < F::kFirstNormalCode) return static_cast<float>(magnitude) * F::kUnit;
  return bits_as<float>(static_cast<uint32_t>(magnitude + F::kRebias) << F::kShift);
}

template <typename F>
CAUSEWAY_HOST_DEVICE inline float value_of(int code) {
  const int magnitude = code & (F::kSignCode - 1);
  const float value = magnitude > F::kLargestCode ? bits_as<float>(bridge::kCanonicalNan)
                                                  : magnitude_of<F>(magnitude);
  return (code & F::kSignCode) != 0 ? -value : value;
}

// The F32 product of a code and a scale.
CAUSEWAY_HOST_DEVICE inline float product(CodeFormat format, int code, float scale) {
  float value = 0;
  bool negative = false;
  switch (format) {
    case CodeFormat::kE4m3:
      value = value_of<bridge::E4m3>(code);
      negative = (code & bridge::E4m3::kSignCode) != 0;
      break;
    case CodeFormat::kE2m1:
      value = value_of<bridge::E2m1>(code);
      negative = (code & bridge::E2m1::kSignCode) != 0;
      break;
    case CodeFormat::kInt4:
      value = static_cast<float>(code - 8);
      negative = code < 8;
      break;
  }
  const float result = value * scale;
  if (!is_nan(result)) return result;
  return bits_as<float>(bridge::kCanonicalNan | (negative ? 0x80000000U : 0U));
}

// To the nearest BF16, ties to even. A NaN has no payload (see product).
CAUSEWAY_HOST_DEVICE inline uint16_t rounded_to_bf16(float x) {
  const auto bits = bits_as<uint32_t>(x);
  if (is_nan(x)) return static_cast<uint16_t>(bits >> 16);
  // The sum stays below the sign: an infinity has no mantissa.
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// A map job. Pointers are aligned to the size of what they point to.
struct Dequantization {
  const void* codes;         // [rows, columns]; columns is even for two codes to a byte
  const void* scales;        // [any, columns / block_columns, rounded up]
  const int32_t* scale_row;  // [rows]: the row of `scales` for each row
  void* values;              // [rows, columns]
  int64_t rows;
  int32_t columns;
  int32_t block_columns;
  CodeFormat code_format;
  ScaleFormat scale_format;
  ValueFormat value_format;

  // Neighbouring columns of one row that a thread takes.
  static constexpr int32_t kRun = 8;

  CAUSEWAY_HOST_DEVICE int64_t threads() const { return rows * runs(); }

  CAUSEWAY_HOST_DEVICE void thread(int64_t number) const {
    const int64_t row = number / runs();
    if (row >= rows) return;
    const auto first = static_cast<int32_t>(number % runs()) * kRun;
    const int32_t last = columns - first > kRun ? first + kRun : columns;
    const int64_t scales_of_row = int64_t{scale_row[row]} * ((columns - 1) / block_columns + 1);
    for (int32_t column = first; column < last; ++column) {
      const int64_t at = row * columns + column;
      store(at, product(code_format, code(at), scale(scales_of_row + column / block_columns)));
    }
  }

 private:
  CAUSEWAY_HOST_DEVICE int32_t runs() const { return (columns - 1) / kRun + 1; }

  CAUSEWAY_HOST_DEVICE int code(int64_t at) const {
    const auto* const bytes = static_cast<const uint8_t*>(codes);
    if (!is_half_byte(code_format)) return bytes[at];
    return at % 2 == 0 ? bytes[at / 2] & 0xf : bytes[at / 2] >> 4;
  }

  CAUSEWAY_HOST_DEVICE float scale(int64_t at) const {
    switch (scale_format) {
      case ScaleFormat::kF32:
        return static_cast<const float*>(scales)[at];
      case ScaleFormat::kBF16:
        return bits_as<float>(uint32_t{static_cast<const uint16_t*>(scales)[at]} << 16);
      case ScaleFormat::kE8m0:
        break;
    }
    const uint32_t byte = static_cast<const uint8_t*>(scales)[at];
    if (byte == 0) return bits_as<float>(0x00400000U);  // 2^-127
    return bits_as<float>(byte == 255 ? bridge::kCanonicalNan : byte << 23);
  }

  CAUSEWAY_HOST_DEVICE void store(int64_t at, float value) const {
    if (value_format == ValueFormat::kF32) {
      static_cast<float*>(values)[at] = value;
    } else {
      static_cast<uint16_t*>(values)[at] = rounded_to_bf16(value);
    }
  }
};

}  // namespace models::cuda
