// The interface of libcauseway_cuda.so. It is in C, because the library is looked up by name at run
// time and links a CUDA runtime of its own.
//
// Pointers in a job are those of the device. Work is queued on `stream` (a cudaStream_t of the
// device; null: its default stream) and not waited for. Every function returns a cudaError_t, 0 if
// all went well; it reports what fails when work is queued, not what fails later. Thread-safe.
#pragma once

#include "models/cuda/comparison.h"
#include "models/cuda/dequantization.h"
#include "models/cuda/head_block.h"

// Raised with every change of the interface or of a job, so that a library of another build is not
// used.
constexpr int kCausewayCudaInterface = 1;

extern "C" {

int causeway_cuda_interface();
// The message of an error, which is never freed.
const char* causeway_cuda_message(int error);
int causeway_cuda_dequantize(const models::cuda::Dequantization* job, int device, void* stream);
// total: on the device. Runs both stages; job->found has room for job->blocks() results.
int causeway_cuda_compare(const models::cuda::Comparison* job, models::cuda::Difference* total,
                          int device, void* stream);
int causeway_cuda_head(const models::cuda::HeadBlock* job, int device, void* stream);

}  // extern "C"
