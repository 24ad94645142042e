// Converts between the bytes of files and tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

#include "bridge/io/number/dtype.h"

namespace models {

// The type of torch. kUnsupported for types that weights do not have.
at::ScalarType torch_type(bridge::Dtype dtype);

// The memory of a contiguous tensor on the CPU.
std::span<std::byte> bytes_of(at::Tensor& tensor);

}  // namespace models
