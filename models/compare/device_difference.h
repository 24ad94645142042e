// How two tensors on a GPU differ, found there in one reading of both by a kernel of our own.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/cuda/library.h"

namespace models {

// On the device, without dimensions.
struct DeviceDifference {
  at::Tensor different;  // int64: what count_of_different gives (bits.h)
  at::Tensor largest;    // fp32: the largest value of distance_of
};

// a, b: BF16, F16 or F32 tensors of one type, shape and device. Does not wait for the device.
// Errors: those of KernelLibrary.
DeviceDifference difference_on_device(const at::Tensor& a, const at::Tensor& b,
                                      const cuda::KernelLibrary& kernels);

}  // namespace models
