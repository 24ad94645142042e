#include "models/verify/torch_errors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace models {
namespace {

constexpr const char* kReport = "this is a bug of causeway: please report it with the command line";
constexpr const char* kCpuRuns = "--device cpu runs everywhere";

enum class Cause { kMemory, kOldDriver, kOldDevice, kOurs, kDevice };

constexpr std::array<int32_t, 1> kMemory = {2};  // cudaErrorMemoryAllocation
// cudaErrorInsufficientDriver, cudaErrorSystemDriverMismatch, cudaErrorCompatNotSupportedOnDevice
constexpr std::array<int32_t, 3> kOldDriver = {35, 803, 804};
// cudaErrorInvalidDeviceFunction, cudaErrorNoKernelImageForDevice, cudaErrorInvalidPtx,
// cudaErrorUnsupportedPtxVersion
constexpr std::array<int32_t, 4> kOldDevice = {98, 209, 218, 222};
// cudaErrorInvalidValue, cudaErrorInvalidConfiguration, cudaErrorIllegalAddress,
// cudaErrorLaunchOutOfResources, cudaErrorAssert, cudaErrorIllegalInstruction,
// cudaErrorMisalignedAddress, cudaErrorInvalidAddressSpace, cudaErrorInvalidPc
constexpr std::array<int32_t, 9> kOurs = {1, 9, 700, 701, 710, 715, 716, 717, 718};

template <size_t N>
bool has(const std::array<int32_t, N>& codes, int32_t code) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

Cause cause_of(int32_t code) {
  if (has(kMemory, code)) return Cause::kMemory;
  if (has(kOldDriver, code)) return Cause::kOldDriver;
  if (has(kOldDevice, code)) return Cause::kOldDevice;
  return has(kOurs, code) ? Cause::kOurs : Cause::kDevice;
}

// Of libraries, LibTorch tells only by text.
Cause cause_of(std::string_view text) {
  const auto holds = [&](std::string_view part) { return text.find(part) != text.npos; };
  // A handle needs a workspace, and fails in this way where there is none left.
  if (holds("CUBLAS_STATUS_ALLOC_FAILED") || holds("CUBLAS_STATUS_NOT_INITIALIZED")) {
    return Cause::kMemory;
  }
  if (holds("NVIDIA driver on your system is too old")) return Cause::kOldDriver;
  if (holds("STATUS_ARCH_MISMATCH")) return Cause::kOldDevice;
  const bool of_cuda = text.starts_with("CUDA error: ") || text.starts_with("cuDNN error: ");
  const bool wrong_call = holds("STATUS_INVALID_VALUE") || holds("STATUS_BAD_PARAM");
  return of_cuda && !wrong_call ? Cause::kDevice : Cause::kOurs;
}

std::string first_line(const std::string& text) {
  return bridge::printable(text.substr(0, text.find('\n')));
}

// "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...": the allocation.
bridge::Error out_of_device_memory(const std::string& text) {
  constexpr std::string_view kTried = "Tried to allocate ";
  const size_t begin = text.find(kTried);
  std::string size;
  if (begin != text.npos) {
    const size_t number = begin + kTried.size();
    size = fmt::format(": {} more were asked for",
                       bridge::printable(text.substr(number, text.find(". ", number) - number)));
  }
  return {bridge::Code::kIo, "out of memory on the GPU" + size,
          "a shorter prompt needs less, and --device cpu none of it"};
}

bridge::Error gpu_error(Cause cause, const std::string& text) {
  const std::string line = first_line(text);
  switch (cause) {
    case Cause::kMemory:
      return out_of_device_memory(text);
    case Cause::kOldDriver:
      return {bridge::Code::kUnsupported,
              fmt::format("the NVIDIA driver is too old for this LibTorch: {}", line), kCpuRuns};
    case Cause::kOldDevice:
      return {bridge::Code::kUnsupported,
              fmt::format("this LibTorch has no code for this GPU: {}", line), kCpuRuns};
    case Cause::kDevice:
      return {bridge::Code::kIo, fmt::format("the GPU stopped working: {}", line),
              "`nvidia-smi` shows its state and the kernel's log why; --device cpu needs none"};
    case Cause::kOurs:
      break;
  }
  return {bridge::Code::kInternal, line, kReport};
}

}  // namespace

bridge::Error out_of_memory() {
  return {bridge::Code::kIo, "out of memory", "a shorter prompt needs less"};
}

bridge::Error error_of(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  // The CPU's allocator has no error type of its own.
  if (text.find("can't allocate memory") != text.npos) return out_of_memory();
  if (const auto* const of_device = dynamic_cast<const c10::AcceleratorError*>(&error)) {
    return gpu_error(cause_of(of_device->get_error_code()), text);
  }
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr;
  return gpu_error(memory ? Cause::kMemory : cause_of(text), text);
}

}  // namespace models
