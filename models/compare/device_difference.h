// How two tensors on a GPU differ, found there in one reading of both by a kernel of our own.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/cuda/library.h"

namespace models {

// a, b: BF16, F16 or F32 tensors of one type, shape and device. What count_different and the
// largest value of distance_of give (bits.h). Waits for the device. Errors: those of KernelLibrary.
cuda::Difference difference_on_device(const at::Tensor& a, const at::Tensor& b,
                                      const cuda::KernelLibrary& kernels);

}  // namespace models
