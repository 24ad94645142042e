// Where a forward pass runs, and that it gives the same numbers every time.
//
//   1. Only torch_cpu is linked. Where a GPU is wanted, LibTorch's CUDA libraries are loaded from beside it, before
//      anything asks for CUDA: the answer to that question is kept by ATen
//   2. algorithms are deterministic, TF32 is off, cuBLAS has workspaces of a fixed size, the number of threads is fixed
// Truth: ATen/detail/CUDAHooksInterface.h; docs/source/notes/randomness.rst of PyTorch; cuBLAS, "Results reproducibility".
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace models {

struct ChosenDevice {
  at::Device device = at::kCPU;
  std::string why;  // of "auto": what was chosen and for what reason
};

// "cpu", "cuda", "cuda:N" or "auto" (a GPU where there is one). Once a process, before anything is computed. Errors: kUsage
// for other words and a number that no device has; kUnsupported where CUDA is asked for and cannot be had.
ChosenDevice choose_device(const std::string& text);

// Once a process, before anything is computed. threads: of the CPU.
void make_deterministic(int threads);

}  // namespace models
