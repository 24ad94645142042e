// Chooses where a forward pass runs and makes it give the same numbers every time.
//
//   1. Only torch_cpu is linked. Where the driver has a GPU and one is wanted, LibTorch's CUDA
//      (models/verify/cuda_libraries.h says where from) is loaded before anything asks for CUDA,
//      because ATen keeps the answer to that question.
//   2. Algorithms are deterministic, TF32 is off, sums of BF16 products are kept in fp32, cuBLAS
//      has workspaces of a fixed size, and the number of threads is fixed.
// Truth: ATen/detail/CUDAHooksInterface.h; docs/source/notes/randomness.rst of PyTorch; cuBLAS,
// "Results reproducibility".
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>

namespace models {

struct ChosenDevice {
  at::Device device = at::kCPU;
  std::string what;  // the GPU's name, or why "auto" chose the CPU; empty for "cpu"
};

// text: "cpu", "cuda", "cuda:N" or "auto" (the first GPU if there is one that can be used).
// cuda_libraries: the folder of packages that the user names; empty: the one in the variable
// CAUSEWAY_CUDA_LIBRARIES, if any. memory: the most bytes that tensors and LibTorch's workspaces
// may have on a GPU; an allocation beyond them fails. Call it once per process, before anything is
// computed.
// Errors: kUsage for other words, for a number that no device has, and for a named folder that is
// none or has another torch; kUnsupported if CUDA is asked for and there is no device ("no CUDA
// device: ..."), its driver is too old, or LibTorch's CUDA does not load.
ChosenDevice choose_device(const std::string& text, const std::string& cuda_libraries,
                           const std::optional<int64_t>& memory = {});

// What LibTorch's allocator of a GPU with `all` bytes reads, when it is made, to have at most
// `memory` of them, or 64 MiB, with which a device can be tried: what needs more than a smaller cap
// is refused before it runs. before: the settings that the user has.
// Truth: c10/cuda/CUDAAllocatorConfig.h; "Optimizing memory usage with PYTORCH_CUDA_ALLOC_CONF".
std::string allocator_settings(int64_t memory, int64_t all, const std::string& before);

// Puts large CPU tensors in huge pages if the system grants them: every weight is a fresh tensor,
// and most of the time of allocating one goes to a fault for each of its pages. Call it once per
// process, before the first tensor. Truth: c10/core/impl/alloc_cpu.cpp.
void use_large_pages();

// What a GPU has left for this process.
int64_t free_device_bytes(at::Device device);

// The peak of the memory that tensors have had on a GPU so far; 0 for the CPU.
int64_t peak_device_bytes(at::Device device);

// Call it once per process, before anything is computed. threads: the number of CPU threads.
void make_deterministic(int threads);

}  // namespace models
