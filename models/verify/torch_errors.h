// What LibTorch throws, as errors with an exit status and one line: its own texts have many lines,
// and only the number or the beginning tells whose fault it was.
// Truth: c10/util/Exception.h; cudaError_t in driver_types.h; cublasStatus_t in cublas_api.h;
// CUDACachingAllocator.cpp.
#pragma once

#include <c10/util/Exception.h>

#include "bridge/io/base/error.h"

namespace models {

// kIo: out of memory, on the CPU or a GPU; a GPU that is lost, busy or broken.
// kUnsupported: the driver or the GPU is too old for this LibTorch.
// kInternal: everything else.
bridge::Error error_of(const c10::Error& error);

bridge::Error out_of_memory();

}  // namespace models
