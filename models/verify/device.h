// Chooses where a forward pass runs and makes it give the same numbers every time.
//
//   1. Only torch_cpu is linked. If a GPU is wanted, LibTorch's CUDA libraries are loaded from the
//      same folder before anything asks for CUDA, because ATen keeps the answer to that question.
//   2. Algorithms are deterministic, TF32 is off, sums of BF16 products are kept in fp32, cuBLAS
//      has workspaces of a fixed size, and the number of threads is fixed.
// Truth: ATen/detail/CUDAHooksInterface.h; docs/source/notes/randomness.rst of PyTorch; cuBLAS,
// "Results reproducibility".
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace models {

struct ChosenDevice {
  at::Device device = at::kCPU;
  std::string why;  // for "auto": what was chosen, with the reason or the number of GPUs
};

// text: "cpu", "cuda", "cuda:N" or "auto" (a GPU if there is one). Call it once per process, before
// anything is computed. Errors: kUsage for other words and for a number that no device has;
// kUnsupported if CUDA is asked for but not available.
ChosenDevice choose_device(const std::string& text);

// Puts large CPU tensors in huge pages if the system grants them: every weight is a fresh tensor,
// and most of the time of allocating one goes to a fault for each of its pages. Call it once per
// process, before the first tensor. Truth: c10/core/impl/alloc_cpu.cpp.
void use_large_pages();

// The peak of the memory that tensors have had on a GPU so far; 0 for the CPU.
int64_t peak_device_bytes(at::Device device);

// Call it once per process, before anything is computed. threads: the number of CPU threads.
void make_deterministic(int threads);

}  // namespace models
