// Kernels of our own, out of libcauseway_cuda.so. The library is loaded at run time where a GPU was
// chosen, so that programs run without CUDA.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "models/cuda/kernels.h"

namespace models::cuda {

// Queues work on a stream of a device and does not wait for it; what a job points to must live
// until it is done. Errors: kIo with what the CUDA runtime says. Thread-safe.
class KernelLibrary {
 public:
  // Once loaded, a library stays so until the process ends. nullopt if it cannot be used; `reason`
  // then says why.
  static std::optional<KernelLibrary> load(const std::filesystem::path& file, std::string& reason);
  // Where the build puts it: in the folder of the running program.
  static std::filesystem::path beside_program();

  // stream: a cudaStream_t of the device; null: its default stream.
  void dequantize(const Dequantization& job, int device, void* stream) const;
  // total: on the device.
  void compare(const Comparison& job, Difference* total, int device, void* stream) const;
  void head(const HeadBlock& job, int device, void* stream) const;

 private:
  KernelLibrary() = default;
  void check(int error, const char* kernel) const;

  decltype(&causeway_cuda_message) message_ = nullptr;
  decltype(&causeway_cuda_dequantize) dequantize_ = nullptr;
  decltype(&causeway_cuda_compare) compare_ = nullptr;
  decltype(&causeway_cuda_head) head_ = nullptr;
};

}  // namespace models::cuda
