#include "models/verify/device.h"

#include <gtest/gtest.h>

namespace models {
namespace {

constexpr int64_t kGiB = 1 << 30;

TEST(AllocatorSettings, APartOfTheMemory) {
  EXPECT_EQ(allocator_settings(8 * kGiB, 80 * kGiB, ""), "per_process_memory_fraction:0.100000000");
  EXPECT_EQ(allocator_settings(8 * kGiB, 80 * kGiB, "max_split_size_mb:64"),
            "max_split_size_mb:64,per_process_memory_fraction:0.100000000");
  // Rounded down: a cap is not exceeded.
  EXPECT_EQ(allocator_settings(2 * kGiB, 3 * kGiB, ""), "per_process_memory_fraction:0.666666666");
}

TEST(AllocatorSettings, AllOfItIsNoLimit) {
  EXPECT_EQ(allocator_settings(80 * kGiB, 80 * kGiB, ""), "");
  EXPECT_EQ(allocator_settings(100 * kGiB, 80 * kGiB, "max_split_size_mb:64"),
            "max_split_size_mb:64");
  EXPECT_EQ(allocator_settings(8 * kGiB, 0, ""), "");  // the driver does not say
}

TEST(AllocatorSettings, ADeviceCanBeTried) {
  EXPECT_EQ(allocator_settings(1, kGiB, ""), "per_process_memory_fraction:0.062500000");
}

}  // namespace
}  // namespace models
