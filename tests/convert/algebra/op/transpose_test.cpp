#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Element [s, c, r] is element [s, r, c] of the part.
TEST(TransposeOp, FollowsItsDefinition) {
  expect_definition(ops::kTranspose, [](Maker& make) {
    const int64_t stack = make.up_to(4);
    const int64_t rows = make.up_to(5);
    const int64_t columns = make.up_to(6);
    const bool matrix = stack == 1;
    Example e{.shapes = {matrix ? Shape{rows, columns} : Shape{stack, rows, columns}}};
    e.parts = {make.fresh(stack * rows * columns)};
    for (int64_t s = 0; s < stack; ++s) {
      for (int64_t column = 0; column < columns; ++column) {
        for (int64_t row = 0; row < rows; ++row) {
          append_rows(e.megatron, e.parts[0], (s * rows + row) * columns + column, 1, 1);
        }
      }
    }
    e.megatron_shape = matrix ? Shape{columns, rows} : Shape{stack, columns, rows};
    return e;
  });
}

TEST(TransposeOp, TakesEmptyTensors) {
  const OpLayout layout(ops::kTranspose, {{2, 0, 3}}, {});
  EXPECT_EQ(layout.megatron_shape(), (Shape{2, 3, 0}));
  EXPECT_EQ(layout.megatron_elements(), 0);
}

TEST(TransposeOp, Refuses) {
  expect_refused(ops::kTranspose, {{"Vector", {{8}}, {}, "[8] has no two axes to exchange"},
                                   {"Scalar", {{}}, {}, "[] has no two axes to exchange"}});
}

}  // namespace
}  // namespace bridge
