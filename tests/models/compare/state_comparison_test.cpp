#include "models/compare/state_comparison.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace models {
namespace {

at::Tensor some() {
  return at::arange(24, at::kFloat).view({2, 3, 4}) / 8;
}

TEST(StateComparison, KeepsTheOrder) {
  at::Tensor moved = some();
  moved[1][2][3] += 0.5;
  moved[0][0][0] -= 0.25;
  StateComparison comparison({});
  comparison.add("hidden.0", some(), some());
  comparison.add("hidden.1", some(), moved);
  const std::vector<StateDifference> states = comparison.finish();
  ASSERT_EQ(states.size(), 2);
  EXPECT_EQ(states[0].name, "hidden.0");
  EXPECT_TRUE(states[0].identical);
  EXPECT_EQ(states[0].largest, 0);
  EXPECT_EQ(states[0].judged, 0);
  EXPECT_EQ(states[1].name, "hidden.1");
  EXPECT_FALSE(states[1].identical);
  EXPECT_EQ(states[1].largest, 0.5);
  EXPECT_EQ(states[1].judged, 0.5);
  EXPECT_EQ(states[1].mean, 0.75 / 24);
  EXPECT_DOUBLE_EQ(states[1].allowed, 1e-4);  // deviations below one count as one
  EXPECT_TRUE(StateComparison({}).finish().empty());
}

// Six rows: the second of them, by their means, is the lower quartile.
TEST(StateComparison, JudgesBf16ByTheBetterRows) {
  at::Tensor moved = some().to(at::kBFloat16);
  const at::Tensor rows = moved.view({6, 4});
  for (int64_t row = 0; row < 6; ++row) rows[row] += 8 * (6 - row);
  StateComparison comparison({.dtype = at::kBFloat16});
  comparison.add("hidden.0", some().to(at::kBFloat16), moved);
  const StateDifference state = comparison.finish().at(0);
  EXPECT_NEAR(state.judged, 16, 0.1);
  EXPECT_NEAR(state.largest, 48, 0.3);
}

TEST(StateComparison, NamesNaN) {
  at::Tensor broken = some();
  broken[0][1][0] = std::numeric_limits<float>::quiet_NaN();
  StateComparison comparison({});
  comparison.add("hidden.0", some(), broken);
  comparison.add("hidden.1", broken, broken.clone());
  const std::vector<StateDifference> states = comparison.finish();
  EXPECT_FALSE(states[0].identical);
  EXPECT_TRUE(std::isnan(states[0].largest));
  EXPECT_TRUE(states[1].identical);
}

// One value has no deviation.
TEST(StateComparison, OfOneValue) {
  StateComparison comparison({});
  comparison.add("hidden.0", some().narrow(0, 0, 1).narrow(1, 0, 1).narrow(2, 0, 1),
                 some().narrow(0, 1, 1).narrow(1, 0, 1).narrow(2, 0, 1));
  const StateDifference state = comparison.finish().at(0);
  EXPECT_EQ(state.largest, 1.5);
  EXPECT_DOUBLE_EQ(state.allowed, 1e-4);
}

}  // namespace
}  // namespace models
