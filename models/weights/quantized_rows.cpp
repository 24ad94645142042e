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

}  // namespace

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

at::Tensor values_on(at::Device device, const QuantizedRows& rows,
                     const cuda::KernelLibrary& kernels) {
  // The memory of what is copied to the device goes back when this function ends, and then is used
  // by later work of the same stream alone.
  const QuantizedRows there{rows.format, rows.codes.to(device), rows.scales.to(device),
                            rows.scale_row.to(device), rows.block_columns};
  at::Tensor values = at::empty({rows.codes.size(0), rows.columns()},
                                at::TensorOptions().dtype(at::kBFloat16).device(device));
  const c10::impl::VirtualGuardImpl guard(device.type());
  kernels.dequantize(dequantization_of(there, values), device.index(),
                     guard.getStream(device).native_handle());
  return values;
}

}  // namespace models
