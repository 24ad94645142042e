// Tests that a largest difference keeps what it has seen, in any order.
#include "models/compare/bits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace models {
namespace {

TEST(Bits, TheLargerOfTwoIsKept) {
  double largest = 0;
  for (const double value : {1.0, 3.0, 2.0}) keep_larger(largest, value);
  EXPECT_EQ(largest, 3);
  keep_larger(largest, std::numeric_limits<double>::infinity());
  keep_larger(largest, 4);
  EXPECT_TRUE(std::isinf(largest));
}

TEST(Bits, NaNIsKeptWhateverComesAfterIt) {
  double largest = 1;
  keep_larger(largest, std::nan(""));
  EXPECT_TRUE(std::isnan(largest));
  keep_larger(largest, 2);
  keep_larger(largest, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(largest));
}

}  // namespace
}  // namespace models
