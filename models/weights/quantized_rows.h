// Rows of a quantized tensor as the checkpoint stores them, and their values computed on a GPU.
// Codes and scales cross the bus, which are a half or a quarter of their values in BF16.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "models/cuda/dequantization.h"

namespace models {

namespace cuda {
class KernelLibrary;
}

// The scale of an element is at [scale_row[its row], its column / block_columns].
struct QuantizedRows {
  cuda::CodeFormat format = cuda::CodeFormat::kE4m3;
  at::Tensor codes;      // [rows, bytes of a row], any type of one byte, contiguous
  at::Tensor scales;     // [any, blocks of a row], F32, BF16 or E8M0, contiguous
  at::Tensor scale_row;  // [rows] int32
  int64_t block_columns = 0;

  int64_t columns() const { return codes.size(1) * (cuda::is_half_byte(format) ? 2 : 1); }
};

// The values of E2M1 codes, two a byte with the even column in the low half: [rows, bytes of a row]
// of any type of one byte gives F32 [rows, columns].
at::Tensor e2m1_values(const at::Tensor& codes);

// The values in F32 with the scale applied and no rounding, [rows, columns] on the CPU.
at::Tensor dequantized(const QuantizedRows& rows);

// The job that computes their values. values: BF16, [rows, columns], on the device of all parts.
// Errors: kUnsupported for another type of scales.
cuda::Dequantization dequantization_of(const QuantizedRows& rows, at::Tensor& values);

// rows: on a device. The values in BF16, [rows, columns] there, with the scale applied and one
// rounding: the bits of Weights::rows, but for the sign of a NaN. Errors: also those of
// KernelLibrary.
at::Tensor values_on_device(const QuantizedRows& rows, const cuda::KernelLibrary& kernels);

}  // namespace models
