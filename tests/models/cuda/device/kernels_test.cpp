// The library of kernels on a GPU: what each gives there has the same bits as the run of the whole
// grid on the CPU. Skipped without a GPU, but for what is said then.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/cuda/library.h"
#include "tests/models/cuda/host_grid.h"
#include "tests/models/cuda/quantized_matrix.h"

namespace models::cuda {
namespace {

constexpr int kDevice = 0;

// The tests' binary lies beside the folder of the programs.
const KernelLibrary& library() {
  static const KernelLibrary kLoaded = [] {
    const std::filesystem::path here = KernelLibrary::beside_program();
    std::string reason;
    const auto loaded =
        KernelLibrary::load(here.parent_path().parent_path() / "bin" / here.filename(), reason);
    if (!loaded) throw std::runtime_error(reason);
    return *loaded;
  }();
  return kLoaded;
}

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// An array on the device.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(size_t count) : count_(count) { check(cudaMalloc(&data_, count * sizeof(T))); }
  explicit OnDevice(const std::vector<T>& values) : OnDevice(values.size()) {
    check(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data_); }

  T* data() const { return static_cast<T*>(data_); }
  // Waits for the device.
  std::vector<T> values() const {
    std::vector<T> out(count_);
    check(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return out;
  }

 private:
  size_t count_;
  void* data_ = nullptr;
};

class CudaKernels : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) GTEST_SKIP() << "no GPU: " << cudaGetErrorString(error);
    if (count == 0) GTEST_SKIP() << "no GPU";
    check(cudaSetDevice(kDevice));
  }
};

TEST_F(CudaKernels, DequantizeAsOnTheCpu) {
  std::mt19937 random(21);
  for (const CodeFormat code_format : {CodeFormat::kE4m3, CodeFormat::kE2m1, CodeFormat::kInt4}) {
    for (const ScaleFormat scale_format :
         {ScaleFormat::kF32, ScaleFormat::kBF16, ScaleFormat::kE8m0}) {
      for (const ValueFormat to : {ValueFormat::kBF16, ValueFormat::kF32}) {
        Matrix matrix{code_format, scale_format, 1001, 602, 32};
        matrix.fill(256, random);
        const auto bytes =
            static_cast<size_t>(matrix.rows * matrix.columns) * (to == ValueFormat::kF32 ? 4 : 2);
        std::vector<std::byte> expected(bytes);
        Dequantization job = matrix.job(expected.data(), to);
        run_map(job);
        const OnDevice<std::byte> codes(matrix.codes);
        const OnDevice<std::byte> scales(matrix.scales);
        const OnDevice<int32_t> scale_row(matrix.scale_row);
        const OnDevice<std::byte> values(bytes);
        job.codes = codes.data();
        job.scales = scales.data();
        job.scale_row = scale_row.data();
        job.values = values.data();
        library().dequantize(job, kDevice, nullptr);
        EXPECT_EQ(values.values(), expected)
            << static_cast<int>(code_format) << " " << static_cast<int>(scale_format);
      }
    }
  }
}

void expect_same(const Difference& found, const Difference& expected) {
  EXPECT_EQ(found.different, expected.different);
  if (std::isnan(expected.largest)) {
    EXPECT_TRUE(std::isnan(found.largest));
  } else {
    EXPECT_EQ(found.largest, expected.largest);
  }
}

TEST_F(CudaKernels, CompareAsOnTheCpu) {
  std::mt19937 random(22);
  for (const int64_t count : {1, 2049, 3000001}) {
    for (const auto& [format, size] :
         {std::pair(ElementFormat::kByte, 1), std::pair(ElementFormat::kF16, 2),
          std::pair(ElementFormat::kBF16, 2), std::pair(ElementFormat::kF32, 4)}) {
      std::vector<std::byte> a(static_cast<size_t>(count * size));
      for (std::byte& byte : a) byte = static_cast<std::byte>(random());
      std::vector<std::byte> b = a;
      for (size_t i = 0; i < b.size(); i += 1000) b[i] = static_cast<std::byte>(random());
      Comparison job{a.data(), b.data(), count, format, nullptr};
      std::vector<Difference> parts(static_cast<size_t>(job.blocks()));
      job.found = parts.data();
      run_reduce(job);
      Difference expected{};
      run_reduce(DifferenceTotal{parts.data(), job.blocks(), &expected});

      const OnDevice<std::byte> there_a(a);
      const OnDevice<std::byte> there_b(b);
      const OnDevice<Difference> found(parts.size());
      const OnDevice<Difference> total(1);
      job.a = there_a.data();
      job.b = there_b.data();
      job.found = found.data();
      library().compare(job, total.data(), kDevice, nullptr);
      expect_same(total.values()[0], expected);
    }
  }
}

void expect_same(double found, double expected) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(found));
  } else {
    EXPECT_EQ(std::bit_cast<uint64_t>(found), std::bit_cast<uint64_t>(expected));
  }
}

void expect_same(const PowerSum& found, const PowerSum& expected) {
  expect_same(found.largest, expected.largest);
  expect_same(found.sum, expected.sum);
  expect_same(found.weighted, expected.weighted);
}

void expect_same(const HeadRow& found, const HeadRow& expected) {
  expect_same(found.a, expected.a);
  expect_same(found.b, expected.b);
  expect_same(found.difference, expected.difference);
  expect_same(found.distance, expected.distance);
  expect_same(found.sum, expected.sum);
  expect_same(found.squares, expected.squares);
  for (int i = 0; i < BestFive::kCount; ++i) {
    EXPECT_EQ(found.best_a.tokens[i], expected.best_a.tokens[i]) << i;
    EXPECT_EQ(found.best_b.tokens[i], expected.best_b.tokens[i]) << i;
  }
}

// Three blocks of the vocabulary, one row with a NaN and one with infinities.
TEST_F(CudaKernels, StatisticsOfHeadsAsOnTheCpu) {
  constexpr int64_t kRows = 33;
  std::mt19937 random(23);
  std::normal_distribution<float> logit(0, 8);
  std::vector<HeadRow> expected(kRows);
  const OnDevice<HeadRow> found(kRows);
  int32_t first = 0;
  for (const int32_t columns : {5000, 100, 4097}) {
    const auto count = static_cast<size_t>(kRows) * static_cast<size_t>(columns);
    std::vector<float> a(count);
    for (float& x : a) x = logit(random);
    std::vector<float> b = a;
    for (float& x : b) x += logit(random) / 64;
    a[static_cast<size_t>(columns) + 7] = std::numeric_limits<float>::quiet_NaN();
    b[static_cast<size_t>(columns) * 2 + 7] = -std::numeric_limits<float>::infinity();
    HeadBlock job{a.data(), b.data(), kRows, columns, first, expected.data()};
    run_reduce(job);
    const OnDevice<float> there_a(a);
    const OnDevice<float> there_b(b);
    job.a = there_a.data();
    job.b = there_b.data();
    job.found = found.data();
    library().head(job, kDevice, nullptr);
    check(cudaDeviceSynchronize());
    first += columns;
  }
  const std::vector<HeadRow> rows = found.values();
  for (size_t row = 0; row < rows.size(); ++row) {
    SCOPED_TRACE(row);
    expect_same(rows[row], expected[row]);
  }
}

TEST(CudaKernelLibrary, ADeviceThatIsNotThereIsOneLine) {
  std::byte byte{};
  Difference difference{};
  const Comparison job{&byte, &byte, 1, ElementFormat::kByte, &difference};
  try {
    library().compare(job, &difference, /*device=*/1000, nullptr);
    FAIL() << "nothing was thrown";
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), bridge::Code::kIo);
    EXPECT_TRUE(error.message().starts_with("CUDA kernel compare: error ")) << error.message();
    EXPECT_EQ(error.message().find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace models::cuda
