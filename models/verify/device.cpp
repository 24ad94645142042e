#include "models/verify/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr std::string_view kCuda = "cuda";
constexpr std::string_view kNumbered = "cuda:";

std::string loader_message() {
  const char* message = ::dlerror();
  return message == nullptr ? "no reason given" : bridge::printable(message);
}

// The folder of the LibTorch that this program runs with.
std::optional<std::filesystem::path> libtorch_folder() {
  void* const library = ::dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return std::nullopt;
  std::string folder(4096, '\0');
  const bool found = ::dlinfo(library, RTLD_DI_ORIGIN, folder.data()) == 0;
  ::dlclose(library);
  if (!found) return std::nullopt;
  return std::filesystem::path(folder.c_str());
}

// The number of devices; if it is 0, `reason` says why.
int load_cuda(std::string& reason) {
  const std::optional<std::filesystem::path> folder = libtorch_folder();
  if (!folder) {
    reason = "libtorch_cpu.so was not found again";
    return 0;
  }
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/1);
  const std::filesystem::path library = *folder / "libtorch_cuda.so";
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    reason = loader_message();
    return 0;
  }
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  const int count = hooks.hasCUDA() ? static_cast<int>(hooks.deviceCount()) : 0;
  if (count == 0) reason = "LibTorch finds no GPU";
  return count;
}

int number_of(const std::string& text) {
  if (text == kCuda) return 0;
  int number = -1;
  if (text.starts_with(kNumbered)) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kNumbered.size(), end, number);
    if (error != std::errc() || stop != end) number = -1;
  }
  if (number < 0) {
    bridge::usage_error(fmt::format("--device {}: no such device", bridge::printable(text)),
                        "there are auto, cpu, cuda and cuda:N");
  }
  return number;
}

}  // namespace

ChosenDevice choose_device(const std::string& text) {
  if (text == "cpu") return {};
  const bool automatic = text == "auto";
  const int number = automatic ? 0 : number_of(text);
  std::string reason;
  const int count = load_cuda(reason);
  if (count == 0) {
    if (automatic) return {at::kCPU, fmt::format("cpu ({})", reason)};
    bridge::unsupported(fmt::format("--device {}: no CUDA device: {}", text, reason),
                        "--device cpu runs everywhere");
  }
  if (number >= count) {
    bridge::usage_error(
        fmt::format("--device {}: there are {} CUDA devices, the first is cuda:0", text, count));
  }
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(number));
  return {device, automatic ? fmt::format("cuda:0 (of {})", count) : ""};
}

void use_large_pages() {
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
}

int64_t peak_device_bytes(at::Device device) {
  if (device.is_cpu()) return 0;
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return stats.allocated_bytes[kAll].peak;
}

void make_deterministic(int threads) {
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
  context.setAllowBF16ReductionCuBLAS(false);
  // No tensor is read before it is written, and filling every new tensor with NaN would double the
  // time of reading weights.
  context.setDeterministicFillUninitializedMemory(false);
  at::set_num_threads(threads);
}

}  // namespace models
