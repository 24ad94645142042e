#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

TEST(CopyOp, FollowsItsDefinition) {
  expect_definition(ops::kCopy, [](Maker& make) {
    Example e{.shapes = {{make.up_to(7), make.up_to(5), make.up_to(3)}}};
    e.parts = {make.fresh(element_count(e.shapes[0]))};
    e.megatron = e.parts[0];
    e.megatron_shape = e.shapes[0];
    return e;
  });
}

// Tensors that are put back as they were may have any shape.
TEST(CopyOp, TakesScalarsAndNothing) {
  const OpLayout scalar(ops::kCopy, {{}}, {});
  EXPECT_EQ(scalar.megatron_shape(), Shape{});
  std::vector<bridge::Run> runs;
  scalar.forward(0, 1, runs);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].length, 1);
  const OpLayout nothing(ops::kCopy, {{0, 4}}, {});
  EXPECT_EQ(nothing.megatron_elements(), 0);
  runs.clear();
  nothing.forward(0, 0, runs);
  nothing.inverse(0, 0, 0, runs);
  EXPECT_TRUE(runs.empty());
}

TEST(CopyOp, Refuses) {
  expect_refused(ops::kCopy, {{"NegativeDimension", {{-1, 2}}, {}, "negative dimension"}});
}

}  // namespace
}  // namespace bridge
