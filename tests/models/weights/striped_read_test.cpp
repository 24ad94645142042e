#include "models/weights/striped_read.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "bridge/io/base/error.h"

namespace models {
namespace {

TEST(StripedRead, CoversEachRowOnce) {
  for (const int64_t rows : {0, 1, 7, 1000}) {
    for (const int64_t stripe : {1, 10, 64, 100000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(rows));
      read_in_stripes(
          rows, 10,
          [&](int64_t first, int64_t last) {
            for (int64_t row = first; row < last; ++row) ++seen[static_cast<size_t>(row)];
          },
          stripe);
      for (const std::atomic<int>& times : seen) EXPECT_EQ(times, 1);
    }
  }
}

TEST(StripedRead, ReadsLittleAtOnce) {
  int calls = 0;
  read_in_stripes(kStripeBytes / 10, 10, [&](int64_t first, int64_t last) {
    ++calls;
    EXPECT_EQ(first, 0);
    EXPECT_EQ(last, kStripeBytes / 10);
  });
  EXPECT_EQ(calls, 1);
}

TEST(StripedRead, AnErrorLeavesIt) {
  const auto refuse = [](int64_t, int64_t last) {
    if (last == 1000) bridge::bad_input("cut short");
  };
  EXPECT_THROW(read_in_stripes(1000, 10, refuse, 10), bridge::Error);
}

}  // namespace
}  // namespace models
