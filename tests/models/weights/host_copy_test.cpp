#include "models/weights/host_copy.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "tests/models/recording_device.h"

namespace models {
namespace {

class HostCopyTest : public testing::Test {
 protected:
  HostCopyTest() : copies_(RecordingDevice::device(), 1 << 20) {
    compute_.device = RecordingDevice::device();
    compute_.copies = &copies_;
  }

  int64_t waits() const {
    return std::count(recorder_.log.begin(), recorder_.log.end(), "host waits for computing");
  }

  RecordingDevice& recorder_ = RecordingDevice::fresh();
  DeviceCopies copies_;
  Compute compute_;
};

TEST_F(HostCopyTest, WaitsWhenItsValuesAreTaken) {
  const at::Tensor numbers = at::arange(12, at::kFloat).view({3, 4});
  HostCopy copy(copies_.copy(numbers), compute_);
  EXPECT_EQ(waits(), 0);
  EXPECT_TRUE(copy.values().equal(numbers));
  EXPECT_EQ(waits(), 1);
  EXPECT_TRUE(copy.values().equal(numbers));
  EXPECT_EQ(waits(), 1);
}

// As two passes have it that come to their routers one after the other.
TEST_F(HostCopyTest, TheFirstWaitServesAll) {
  const at::Tensor numbers = at::arange(5, at::kLong);
  std::optional<HostCopy> first(std::in_place, copies_.copy(numbers), compute_);
  HostCopy second(copies_.copy(numbers + 1), compute_);
  EXPECT_TRUE(first->values().equal(numbers));
  EXPECT_TRUE(second.values().equal(numbers + 1));
  EXPECT_EQ(waits(), 1);
}

TEST_F(HostCopyTest, OfTheHostIsItself) {
  const at::Tensor numbers = at::arange(5, at::kLong);
  EXPECT_TRUE(HostCopy(numbers, compute_).values().is_same(numbers));
  EXPECT_TRUE(recorder_.log.empty());
}

}  // namespace
}  // namespace models
