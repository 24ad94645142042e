#include "models/verify/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/ones.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/verify/cuda_driver.h"
#include "models/verify/cuda_libraries.h"
#include "models/verify/torch_errors.h"

namespace models {
namespace {

constexpr std::string_view kCuda = "cuda";
constexpr std::string_view kNumbered = "cuda:";
constexpr int64_t kLeastMemory = 64 << 20;
constexpr const char* kCpuRuns = "--device cpu runs everywhere";

std::string loader_message() {
  const char* message = ::dlerror();
  return message == nullptr ? "no reason given" : bridge::printable(message);
}

// The folder of the LibTorch that this program runs with.
FilePath libtorch_folder() {
  void* const library = ::dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
  std::string folder(4096, '\0');
  const bool found = library != nullptr && ::dlinfo(library, RTLD_DI_ORIGIN, folder.data()) == 0;
  if (library != nullptr) ::dlclose(library);
  if (!found) bridge::internal_error("libtorch_cpu.so was not found again");
  return folder.c_str();
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The folder that the user names, and by which option or variable.
struct NamedPlace {
  std::string name;
  std::string path;  // empty: none is named
};

NamedPlace named_place(const std::string& option) {
  if (!option.empty()) return {"--cuda-libraries", option};
  return {"CAUSEWAY_CUDA_LIBRARIES", variable("CAUSEWAY_CUDA_LIBRARIES")};
}

// The folders of packages besides that of the linked LibTorch.
std::vector<FilePath> places(const NamedPlace& named) {
  std::vector<FilePath> found;
  if (!named.path.empty()) found.emplace_back(named.path);
  for (FilePath& place :
       python_packages({variable("VIRTUAL_ENV"), variable("PATH"), variable("HOME")})) {
    found.push_back(std::move(place));
  }
  return found;
}

std::string dotted(int cuda_version) {
  return fmt::format("{}.{}", cuda_version / 1000, cuda_version % 1000 / 10);
}

// Any driver of one major version runs what was built for another minor one.
// Truth: CUDA Compatibility, "Minor Version Compatibility".
void check_driver(int driver_version, const FilePath& linked) {
  const int needed = cuda_version(torch_version(linked.parent_path()));
  if (driver_version / 1000 >= needed / 1000) return;
  bridge::unsupported(
      fmt::format("the NVIDIA driver is too old: it knows CUDA {}, LibTorch is built with {}",
                  dotted(driver_version), dotted(needed)),
      "update the driver");
}

[[noreturn]] void does_not_load(const std::string& message, const CudaLibraries& found,
                                const FilePath& linked) {
  const std::string missing = missing_library(message);
  if (missing.empty()) {
    bridge::unsupported(fmt::format("LibTorch's CUDA does not load: {}", message), kCpuRuns);
  }
  bridge::unsupported(
      fmt::format("LibTorch's CUDA needs {}, which was not found{}{}", missing,
                  found.left_out.empty() ? "" : "; ", fmt::join(found.left_out, "; ")),
      fmt::format("{} for the python3 on PATH, or scripts/libtorch.sh --cuda for all of them",
                  install_line(linked, missing)));
}

void load_cuda(const NamedPlace& named, const FilePath& linked) {
  const CudaLibraries found = find_cuda_libraries(linked, places(named));
  if (found.torch_cuda.empty()) {
    does_not_load("libtorch_cuda.so: cannot open shared object file", found, linked);
  }
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/1);
  // One that fails here may be found elsewhere for the last one, which else names it.
  for (const FilePath& library : found.others) {
    ::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  }
  ::dlerror();
  if (::dlopen(found.torch_cuda.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    does_not_load(loader_message(), found, linked);
  }
}

void limit_memory(int64_t memory, int64_t all) {
  constexpr const char* kSettings = "PYTORCH_CUDA_ALLOC_CONF";
  std::string before = variable(kSettings);
  if (before.empty()) before = variable("PYTORCH_ALLOC_CONF");
  const std::string settings = allocator_settings(memory, all, before);
  if (!settings.empty()) ::setenv(kSettings, settings.c_str(), /*overwrite=*/1);
}

// Keeps the last warning instead of printing it: LibTorch only warns about a device that does not
// start.
class KeptWarning : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override { text_ = warning.msg(); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Computes something there: a GPU that LibTorch counts may be busy, or too old for its kernels.
void check_device(at::Device device) {
  KeptWarning warning;
  const c10::WarningUtils::WarningHandlerGuard guard(&warning);
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  if (!hooks.hasCUDA() || hooks.deviceCount() <= device.index()) {
    bridge::unsupported(fmt::format("LibTorch finds no GPU{}{}", warning.text().empty() ? "" : ": ",
                                    bridge::printable(warning.text())),
                        kCpuRuns);
  }
  try {
    at::ones({1}, at::TensorOptions().device(device)).add_(1).item();
  } catch (const c10::Error& error) {
    throw error_of(error);
  }
}

// Why "auto" does not take a GPU that is there, with what would help.
std::string why_not(const std::string& gpu, const bridge::Error& error) {
  const std::string hint = error.hint() == kCpuRuns ? "" : "; " + error.hint();
  return fmt::format("not on {}: {}{}", gpu, error.message(), hint);
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

std::string allocator_settings(int64_t memory, int64_t all, const std::string& before) {
  if (memory >= all) return before;
  constexpr double kDigits = 1e9;
  const double part =
      static_cast<double>(std::max(memory, kLeastMemory)) / static_cast<double>(all);
  return fmt::format("{}{}per_process_memory_fraction:{:.9f}", before, before.empty() ? "" : ",",
                     std::floor(std::min(part, 1.0) * kDigits) / kDigits);
}

ChosenDevice choose_device(const std::string& text, const std::string& cuda_libraries,
                           const std::optional<int64_t>& memory) {
  if (text == "cpu") {
    if (cuda_libraries.empty()) return {};
    bridge::usage_error("--cuda-libraries with --device cpu", "leave one of them out");
  }
  const bool automatic = text == "auto";
  const int number = automatic ? 0 : number_of(text);
  const FilePath linked = libtorch_folder();
  const NamedPlace named = named_place(cuda_libraries);
  if (!named.path.empty()) check_named_place(linked, named.name, named.path);
  const CudaDriver driver = ask_cuda_driver();
  if (driver.devices.empty()) {
    if (automatic) return {at::kCPU, driver.why_none};
    bridge::unsupported(fmt::format("--device {}: no CUDA device: {}", text, driver.why_none),
                        kCpuRuns);
  }
  const size_t count = driver.devices.size();
  if (static_cast<size_t>(number) >= count) {
    bridge::usage_error(
        fmt::format("--device {}: there are {} CUDA devices, the first is cuda:0", text, count));
  }
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(number));
  const std::string& name = driver.devices[static_cast<size_t>(number)];
  try {
    check_driver(driver.version, linked);
    if (memory) limit_memory(*memory, driver.bytes[static_cast<size_t>(number)]);
    load_cuda(named, linked);
    check_device(device);
  } catch (bridge::Error& error) {
    if (automatic) return {at::kCPU, why_not(name, error)};
    error.add_context(fmt::format("--device {}", text));
    throw;
  }
  return {device, name};
}

void use_large_pages() {
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
}

int64_t free_device_bytes(at::Device device) {
  const auto [free, all] = c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
  return static_cast<int64_t>(free);
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
