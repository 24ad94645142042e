#include "models/weights/tensor_bytes.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace models {

at::ScalarType torch_type(bridge::Dtype dtype) {
  switch (dtype) {
    case bridge::Dtype::kF16:
      return at::kHalf;
    case bridge::Dtype::kBF16:
      return at::kBFloat16;
    case bridge::Dtype::kF32:
      return at::kFloat;
    case bridge::Dtype::kF64:
      return at::kDouble;
    case bridge::Dtype::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case bridge::Dtype::kF8E8M0:
      return at::kFloat8_e8m0fnu;
    case bridge::Dtype::kU8:
      return at::kByte;
    case bridge::Dtype::kI8:
      return at::kChar;
    case bridge::Dtype::kI32:
      return at::kInt;
    case bridge::Dtype::kI64:
      return at::kLong;
    default:
      bridge::unsupported(
          fmt::format("weights of type {} are not read here", bridge::safetensors_name(dtype)));
  }
}

std::span<std::byte> bytes_of(at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

}  // namespace models
