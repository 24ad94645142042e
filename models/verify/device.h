// Where a forward pass runs, and that it gives the same numbers every time.
//
//   1. Only torch_cpu is linked. Where a GPU is wanted, LibTorch's CUDA libraries are loaded from beside it, before
//      anything asks for CUDA: the answer to that question is kept by ATen
//   2. algorithms are deterministic, TF32 is off, sums of BF16 products are kept in fp32, cuBLAS has workspaces of a fixed
//      size, the number of threads is fixed
// Truth: ATen/detail/CUDAHooksInterface.h; docs/source/notes/randomness.rst of PyTorch; cuBLAS, "Results reproducibility".
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace models {

struct ChosenDevice {
  at::Device device = at::kCPU;
  std::string why;  // of "auto": what was chosen and for what reason
};

// "cpu", "cuda", "cuda:N" or "auto" (a GPU where there is one). Once a process, before anything is computed. Errors: kUsage
// for other words and a number that no device has; kUnsupported where CUDA is asked for and cannot be had.
ChosenDevice choose_device(const std::string& text);

// Large tensors of the CPU in huge pages where the system grants them: every weight is a fresh tensor, and most of the time of
// allocating one is a fault for each of its pages. Once a process, before the first tensor. Truth: c10/core/impl/alloc_cpu.cpp.
void use_large_pages();

// The most memory that tensors had on a GPU so far; 0 for the CPU.
int64_t peak_device_bytes(at::Device device);

// Once a process, before anything is computed. threads: of the CPU.
void make_deterministic(int threads);

}  // namespace models
