// Maps the threads of a GPU to jobs (host_device.h). Built into libcauseway_cuda.so
// (CMakeLists.txt).
#include <cuda_runtime_api.h>

#include <cstdint>

#include "models/cuda/kernels.h"

namespace models::cuda {
namespace {

constexpr int64_t kMostBlocks = 0x7fffffff;  // of the first dimension of a grid

template <typename Job>
__global__ void __launch_bounds__(kThreads) map_threads(Job job) {
  job.thread(int64_t{blockIdx.x} * kThreads + threadIdx.x);
}

template <typename Job>
__global__ void __launch_bounds__(kThreads) reduce_blocks(Job job) {
  __shared__ typename Job::State states[kThreads];
  const auto thread = static_cast<int>(threadIdx.x);
  states[thread] = job.thread(blockIdx.x, thread);
  for (int stride = kThreads / 2; stride > 0; stride /= 2) {
    __syncthreads();
    merge_step(states, thread, stride);
  }
  if (thread == 0) job.finish(blockIdx.x, states[0]);
}

// Queues the kernel with a number of blocks of threads.
template <typename Job>
int launch(void (*kernel)(Job), const Job& job, int64_t blocks, int device, void* stream) {
  if (blocks == 0) return cudaSuccess;
  if (blocks > kMostBlocks) return cudaErrorInvalidValue;
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(job);
  return cudaGetLastError();
}

template <typename Job>
int map(const Job& job, int device, void* stream) {
  const int64_t blocks = (job.threads() + kThreads - 1) / kThreads;
  return launch(map_threads<Job>, job, blocks, device, stream);
}

template <typename Job>
int reduce(const Job& job, int device, void* stream) {
  return launch(reduce_blocks<Job>, job, job.blocks(), device, stream);
}

}  // namespace
}  // namespace models::cuda

#define CAUSEWAY_EXPORT __attribute__((visibility("default")))

extern "C" {

CAUSEWAY_EXPORT int causeway_cuda_interface() {
  return kCausewayCudaInterface;
}

CAUSEWAY_EXPORT const char* causeway_cuda_message(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

CAUSEWAY_EXPORT int causeway_cuda_dequantize(const models::cuda::Dequantization* job, int device,
                                             void* stream) {
  return models::cuda::map(*job, device, stream);
}

CAUSEWAY_EXPORT int causeway_cuda_compare(const models::cuda::Comparison* job,
                                          models::cuda::Difference* total, int device,
                                          void* stream) {
  const int error = models::cuda::reduce(*job, device, stream);
  if (error != cudaSuccess) return error;
  const models::cuda::DifferenceTotal second{job->found, job->blocks(), total};
  return models::cuda::reduce(second, device, stream);
}

CAUSEWAY_EXPORT int causeway_cuda_head(const models::cuda::HeadBlock* job, int device,
                                       void* stream) {
  return models::cuda::reduce(*job, device, stream);
}

}  // extern "C"
