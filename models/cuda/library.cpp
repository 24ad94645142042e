#include "models/cuda/library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace models::cuda {
namespace {

std::string loader_message() {
  const char* message = ::dlerror();
  return message == nullptr ? "no reason given" : bridge::printable(message);
}

// Sets `function` to the library's function of that name; false if there is none.
template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

std::optional<KernelLibrary> KernelLibrary::load(const std::filesystem::path& file,
                                                 std::string& reason) {
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    reason = loader_message();
    return std::nullopt;
  }
  KernelLibrary kernels;
  decltype(&causeway_cuda_interface) interface = nullptr;
  if (!find(library, "causeway_cuda_interface", interface) ||
      interface() != kCausewayCudaInterface ||
      !find(library, "causeway_cuda_message", kernels.message_) ||
      !find(library, "causeway_cuda_dequantize", kernels.dequantize_) ||
      !find(library, "causeway_cuda_compare", kernels.compare_) ||
      !find(library, "causeway_cuda_head", kernels.head_)) {
    reason = bridge::printable(file.native()) + " is of another build";
    return std::nullopt;
  }
  return kernels;
}

std::filesystem::path KernelLibrary::beside_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libcauseway_cuda.so";
}

void KernelLibrary::check(int error, const char* kernel) const {
  if (error == 0) return;
  throw bridge::Error(bridge::Code::kIo,
                      fmt::format("CUDA kernel {}: error {}: {}", kernel, error, message_(error)),
                      "--device cpu runs everywhere");
}

void KernelLibrary::dequantize(const Dequantization& job, int device, void* stream) const {
  check(dequantize_(&job, device, stream), "dequantize");
}

void KernelLibrary::compare(const Comparison& job, Difference* total, int device,
                            void* stream) const {
  check(compare_(&job, total, device, stream), "compare");
}

void KernelLibrary::head(const HeadBlock& job, int device, void* stream) const {
  check(head_(&job, device, stream), "head");
}

}  // namespace models::cuda
