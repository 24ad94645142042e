#include "tests/convert/algebra/op/sequences.h"

namespace bridge {
namespace {

TEST(TransposeDeinterleaveOp, FollowsItsDefinition) {
  expect_sequences(ops::kTransposeDeinterleave, InTurns::kColumns);
}

TEST(TransposeDeinterleaveOp, Refuses) {
  expect_sequences_refused(ops::kTransposeDeinterleave, InTurns::kColumns);
}

}  // namespace
}  // namespace bridge
