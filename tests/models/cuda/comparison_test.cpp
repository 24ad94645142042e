// The comparison kernel, run on the CPU over both grids: against a plain loop over values by
// definition, for buffers smaller and larger than a grid.
#include "models/cuda/comparison.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "tests/models/cuda/host_grid.h"
#include "tests/narrow_float.h"

namespace models::cuda {
namespace {

template <typename Element>
Difference compared(const std::vector<Element>& a, const std::vector<Element>& b,
                    ElementFormat format) {
  Comparison job{a.data(), b.data(), static_cast<int64_t>(a.size()), format, nullptr};
  std::vector<Difference> found(static_cast<size_t>(job.blocks()), Difference{-1, -1});
  job.found = found.data();
  run_reduce(job);
  Difference total{-1, -1};
  run_reduce(DifferenceTotal{found.data(), job.blocks(), &total});
  return total;
}

TEST(CudaComparison, EveryHalfHasItsValue) {
  for (int code = 0; code < 65536; ++code) {
    const auto half = static_cast<uint16_t>(code);
    const float expected = static_cast<float>(bridge::kHalf.value(half));
    const float found = widened_half(half);
    ASSERT_EQ(std::signbit(found), std::signbit(expected)) << code;
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(found)) << code;
    } else {
      ASSERT_EQ(found, expected) << code;
    }
  }
}

// 3,000,001 elements are more than one round of the largest grid.
TEST(CudaComparison, BuffersOfEverySize) {
  std::mt19937 random(3);
  for (const size_t size : {1, 127, 128, 2048, 2049, 100003, 3000001}) {
    std::vector<uint8_t> a(size);
    for (uint8_t& x : a) x = static_cast<uint8_t>(random());
    std::vector<uint8_t> b = a;
    EXPECT_EQ(compared(a, b, ElementFormat::kByte).different, 0) << size;
    for (size_t i = random() % 50; i < size; i += 1 + random() % 5000) {
      b[i] = static_cast<uint8_t>(random());
    }
    b[size - 1] = static_cast<uint8_t>(a[size - 1] ^ 0xff);
    int64_t different = 0;
    int largest = 0;
    for (size_t i = 0; i < size; ++i) {
      different += a[i] != b[i];
      largest = std::max(largest, std::abs(a[i] - b[i]));
    }
    const Difference found = compared(a, b, ElementFormat::kByte);
    EXPECT_EQ(found.different, different) << size;
    EXPECT_EQ(found.largest, static_cast<float>(largest)) << size;
  }
}

TEST(CudaComparison, AnEmptyBuffer) {
  const std::vector<float> none;
  EXPECT_EQ(compared(none, none, ElementFormat::kF32).different, 0);
}

TEST(CudaComparison, ValuesOfEveryType) {
  // 1.5 and -2, 3 and 3, 0 and -0.
  const std::vector<float> a = {1.5, 3, 0};
  const std::vector<float> b = {-2, 3, -0.0F};
  std::vector<uint16_t> half_a, half_b, brain_a, brain_b;
  for (size_t i = 0; i < a.size(); ++i) {
    half_a.push_back(bridge::kHalf.nearest(a[i]));
    half_b.push_back(bridge::kHalf.nearest(b[i]));
    brain_a.push_back(bridge::kBrain.nearest(a[i]));
    brain_b.push_back(bridge::kBrain.nearest(b[i]));
  }
  for (const Difference& found :
       {compared(a, b, ElementFormat::kF32), compared(half_a, half_b, ElementFormat::kF16),
        compared(brain_a, brain_b, ElementFormat::kBF16)}) {
    EXPECT_EQ(found.different, 2);
    EXPECT_EQ(found.largest, 3.5F);
  }
}

// As models/compare/bits.h: equal infinities and NaNs are equal, and a NaN that differs is not
// forgotten, whichever thread meets it.
TEST(CudaComparison, WhatIsNotFinite) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> a(5000, 1);
  a[10] = inf;
  a[20] = nan;
  std::vector<float> b = a;
  EXPECT_EQ(compared(a, b, ElementFormat::kF32).different, 0);
  b[10] = 3;
  EXPECT_EQ(compared(a, b, ElementFormat::kF32).largest, inf);
  for (const size_t place : {0, 20, 21, 4999}) {
    std::vector<float> c = b;
    c[place] = c[place] == 1 ? nan : 5;
    const Difference found = compared(a, c, ElementFormat::kF32);
    EXPECT_EQ(found.different, 2) << place;
    EXPECT_TRUE(std::isnan(found.largest)) << place;
  }
}

}  // namespace
}  // namespace models::cuda
