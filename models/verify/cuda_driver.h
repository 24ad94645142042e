// What NVIDIA's driver says of its GPUs. It is asked before LibTorch's CUDA is loaded, which takes
// a second and hundreds of megabytes, because most machines have no GPU.
// Truth: CUDA Driver API, "Initialization", "Version Management", "Device Management".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace models {

struct CudaDriver {
  int version = 0;                   // the newest CUDA that it knows: 13000 for 13.0
  std::vector<std::string> devices;  // their names, those that CUDA_VISIBLE_DEVICES leaves
  std::vector<int64_t> bytes;        // their memory, in the same order; 0: unknown
  std::string why_none;              // if there are no devices
};

// Loads libcuda.so.1 for the rest of the process. It makes no context on a device.
CudaDriver ask_cuda_driver();

}  // namespace models
