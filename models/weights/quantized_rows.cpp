#include "models/weights/quantized_rows.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "models/cuda/library.h"

namespace models {
namespace {

cuda::ScaleFormat scale_format(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return cuda::ScaleFormat::kF32;
    case at::kBFloat16:
      return cuda::ScaleFormat::kBF16;
    case at::kFloat8_e8m0fnu:
      return cuda::ScaleFormat::kE8m0;
    default:
      bridge::unsupported(std::string("scales of type ") + at::toString(type));
  }
}

constexpr float kE2m1[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};
constexpr float kInt4[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

// Two elements share a byte; the even column is in its low half.
at::Tensor half_byte_values(const at::Tensor& packed, const float (&value_of)[16]) {
  at::Tensor values = at::empty({packed.size(0), 2 * packed.size(1)}, at::kFloat);
  const auto* bytes = static_cast<const uint8_t*>(packed.const_data_ptr());
  float* value = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < packed.numel(); ++i) {
    *value++ = value_of[bytes[i] & 15];
    *value++ = value_of[bytes[i] >> 4];
  }
  return values;
}

at::Tensor values_of(const QuantizedRows& rows) {
  switch (rows.format) {
    case cuda::CodeFormat::kE4m3:
      return rows.codes.view(at::kFloat8_e4m3fn).to(at::kFloat);
    case cuda::CodeFormat::kE2m1:
      return half_byte_values(rows.codes, kE2m1);
    case cuda::CodeFormat::kInt4:
      return half_byte_values(rows.codes, kInt4);
  }
  return {};
}

// scales: [rows, blocks of `columns` columns]; the last block may have fewer columns.
void multiply_blocks(at::Tensor& values, const at::Tensor& scales, int64_t columns) {
  const int64_t blocks = values.size(1) / columns;
  const int64_t rest = values.size(1) - blocks * columns;
  values.narrow(1, 0, blocks * columns)
      .unflatten(1, {blocks, columns})
      .mul_(scales.narrow(1, 0, blocks).unsqueeze(-1));
  if (rest > 0) values.narrow(1, blocks * columns, rest).mul_(scales.narrow(1, blocks, 1));
}

}  // namespace

at::Tensor e2m1_values(const at::Tensor& codes) {
  return half_byte_values(codes, kE2m1);
}

at::Tensor dequantized(const QuantizedRows& rows) {
  at::Tensor values = values_of(rows);
  multiply_blocks(values, rows.scales.to(at::kFloat).index_select(0, rows.scale_row),
                  rows.block_columns);
  return values;
}

cuda::Dequantization dequantization_of(const QuantizedRows& rows, at::Tensor& values) {
  return {rows.codes.const_data_ptr(),
          rows.scales.const_data_ptr(),
          rows.scale_row.const_data_ptr<int32_t>(),
          values.mutable_data_ptr(),
          values.size(0),
          bridge::checked_cast<int32_t>(rows.columns(), "number of columns"),
          bridge::checked_cast<int32_t>(rows.block_columns, "block size"),
          rows.format,
          scale_format(rows.scales.scalar_type()),
          cuda::ValueFormat::kBF16};
}

at::Tensor values_on_device(const QuantizedRows& rows, const cuda::KernelLibrary& kernels) {
  const at::Device device = rows.codes.device();
  at::Tensor values = at::empty({rows.codes.size(0), rows.columns()},
                                at::TensorOptions().dtype(at::kBFloat16).device(device));
  const c10::impl::VirtualGuardImpl guard(device.type());
  kernels.dequantize(dequantization_of(rows, values), device.index(),
                     guard.getStream(device).native_handle());
  return values;
}

}  // namespace models
