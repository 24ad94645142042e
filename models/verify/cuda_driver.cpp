#include "models/verify/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace models {
namespace {

// Of CUresult. It and CUdevice are ints.
constexpr int kSuccess = 0;
constexpr int kNoDevice = 100;

class Driver {
 public:
  explicit Driver(void* library) : library_(library) {}

  // Calls a function of the driver by its name; a missing one fails like any other error.
  template <typename... Arguments>
  int call(const char* name, Arguments... arguments) const {
    using Function = int (*)(Arguments...);
    const auto function = reinterpret_cast<Function>(::dlsym(library_, name));
    return function == nullptr ? -1 : function(arguments...);
  }

  std::string text_of(int result) const {
    const char* text = nullptr;
    if (call("cuGetErrorString", result, &text) != kSuccess || text == nullptr) {
      return fmt::format("error {}", result);
    }
    return bridge::printable(text);
  }

  std::string name_of(int number) const {
    std::string name(256, '\0');
    int device = 0;
    int result = call("cuDeviceGet", &device, number);
    if (result == kSuccess) {
      result = call("cuDeviceGetName", name.data(), static_cast<int>(name.size()), device);
    }
    return result == kSuccess ? bridge::printable(name.c_str()) : "a GPU without a name";
  }

  int64_t bytes_of(int number) const {
    size_t bytes = 0;
    int device = 0;
    int result = call("cuDeviceGet", &device, number);
    if (result == kSuccess) result = call("cuDeviceTotalMem_v2", &bytes, device);
    return result == kSuccess ? static_cast<int64_t>(bytes) : 0;
  }

 private:
  void* library_;
};

}  // namespace

CudaDriver ask_cuda_driver() {
  CudaDriver found;
  void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    ::dlerror();  // the next message is then about the next library
    found.why_none = "no NVIDIA driver";
    return found;
  }
  const Driver driver(library);
  int count = 0;
  int result = driver.call("cuInit", 0U);
  if (result == kSuccess) result = driver.call("cuDeviceGetCount", &count);
  if (result == kSuccess) result = driver.call("cuDriverGetVersion", &found.version);
  if (result != kSuccess && result != kNoDevice) {
    found.why_none = fmt::format("the NVIDIA driver does not start: {}", driver.text_of(result));
  } else if (result == kNoDevice || count == 0) {
    found.why_none = "the NVIDIA driver finds no GPU";
  } else {
    for (int number = 0; number < count; ++number) {
      found.devices.push_back(driver.name_of(number));
      found.bytes.push_back(driver.bytes_of(number));
    }
  }
  return found;
}

}  // namespace models
