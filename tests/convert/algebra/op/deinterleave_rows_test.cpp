#include "tests/convert/algebra/op/sequences.h"

namespace bridge {
namespace {

TEST(DeinterleaveRowsOp, FollowsItsDefinition) {
  expect_sequences(ops::kDeinterleaveRows, InTurns::kRows);
}

TEST(DeinterleaveRowsOp, Refuses) {
  expect_sequences_refused(ops::kDeinterleaveRows, InTurns::kRows);
}

}  // namespace
}  // namespace bridge
