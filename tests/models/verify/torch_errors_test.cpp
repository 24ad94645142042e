// Exit statuses and lines for what LibTorch throws. Numbers are those of CUDA's driver_types.h;
// texts are LibTorch's own (CUDACachingAllocator.cpp, CUDAException.cpp, CUDAFunctions.cpp).
#include "models/verify/torch_errors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace models {
namespace {

const c10::SourceLocation kHere = {"function", "file", 1};

bridge::Error of_device(int32_t code, const std::string& text) {
  return error_of(c10::AcceleratorError(
      kHere, code,
      "CUDA error: " + text + "\nCUDA kernel errors might be asynchronously reported"));
}

TEST(TorchErrors, OutOfMemory) {
  const bridge::Error gpu = error_of(c10::OutOfMemoryError(
      kHere,
      "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.81 GiB of "
      "which 1.06 GiB is free. Including non-PyTorch memory, ..."));
  EXPECT_EQ(gpu.exit_status(), 4);
  EXPECT_EQ(gpu.message(), "out of memory on the GPU: 2.50 GiB more were asked for");
  EXPECT_NE(gpu.hint(), "");
  EXPECT_EQ(of_device(2, "out of memory").message(), "out of memory on the GPU");
  EXPECT_EQ(error_of(c10::Error(kHere,
                                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling "
                                "`cublasCreate(handle)`"))
                .message(),
            "out of memory on the GPU");
  const bridge::Error cpu = error_of(c10::Error(
      kHere, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."));
  EXPECT_EQ(cpu.exit_status(), 4);
  EXPECT_EQ(cpu.message(), "out of memory");
}

// cudaErrorDevicesUnavailable, cudaErrorECCUncorrectable, cudaErrorLaunchFailure, cudaErrorUnknown
TEST(TorchErrors, ALostDevice) {
  for (const int32_t code : {46, 214, 719, 999}) {
    const bridge::Error error = of_device(code, "unknown error");
    EXPECT_EQ(error.exit_status(), 4) << code;
    EXPECT_EQ(error.message(), "the GPU stopped working: CUDA error: unknown error") << code;
  }
  EXPECT_EQ(error_of(c10::Error(kHere, "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling x"))
                .exit_status(),
            4);
}

TEST(TorchErrors, ADriverOrDeviceTooOld) {
  const bridge::Error driver =
      of_device(35, "CUDA driver version is insufficient for CUDA runtime version");
  EXPECT_EQ(driver.exit_status(), 5);
  EXPECT_TRUE(driver.message().starts_with("the NVIDIA driver is too old")) << driver.message();
  EXPECT_EQ(error_of(c10::Error(kHere,
                                "The NVIDIA driver on your system is too old (found version "
                                "12040). Please update your GPU driver ..."))
                .exit_status(),
            5);
  const bridge::Error device = of_device(209, "no kernel image is available for execution");
  EXPECT_EQ(device.exit_status(), 5);
  EXPECT_TRUE(device.message().starts_with("this LibTorch has no code for this GPU"));
}

TEST(TorchErrors, OurOwnMistakes) {
  for (const int32_t code : {1, 700, 710, 716}) {
    const bridge::Error error = of_device(code, "an illegal memory access was encountered");
    EXPECT_EQ(error.exit_status(), 70) << code;
    EXPECT_EQ(error.message(), "CUDA error: an illegal memory access was encountered") << code;
  }
  EXPECT_EQ(error_of(c10::Error(kHere, "The size of tensor a (3) must match")).exit_status(), 70);
  EXPECT_EQ(error_of(c10::Error(kHere, "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling x"))
                .exit_status(),
            70);
}

}  // namespace
}  // namespace models
