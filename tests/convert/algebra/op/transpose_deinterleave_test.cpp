#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Row g * length + i is column i * groups + g of the part, in every matrix of the stack.
TEST(TransposeDeinterleaveOp, FollowsItsDefinition) {
  expect_definition(ops::kTransposeDeinterleave, [](Maker& make) {
    const int64_t stack = make.up_to(3);
    const int64_t rows = make.up_to(5);
    const int64_t groups = make.up_to(3);
    const int64_t length = make.up_to(4);
    const int64_t columns = groups * length;
    const bool matrix = stack == 1;
    Example e{.shapes = {matrix ? Shape{rows, columns} : Shape{stack, rows, columns}},
              .numbers = {.groups = groups}};
    e.parts = {make.fresh(stack * rows * columns)};
    for (int64_t s = 0; s < stack; ++s) {
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t i = 0; i < length; ++i) {
          for (int64_t row = 0; row < rows; ++row) {
            const int64_t column = i * groups + g;
            append_rows(e.megatron, e.parts[0], (s * rows + row) * columns + column, 1, 1);
          }
        }
      }
    }
    e.megatron_shape = matrix ? Shape{columns, rows} : Shape{stack, columns, rows};
    return e;
  });
}

TEST(TransposeDeinterleaveOp, Refuses) {
  expect_refused(
      ops::kTransposeDeinterleave,
      {{"Odd", {{3, 9}}, {.groups = 2}, "9 columns do not divide into 2 sequences"},
       {"NoGroups", {{3, 8}}, {.groups = 0}, "8 columns do not divide into 0 sequences"},
       {"Negative", {{3, 8}}, {.groups = -2}, "8 columns do not divide into -2 sequences"},
       {"Empty", {{3, 0}}, {.groups = 2}, "0 columns do not divide into 2 sequences"},
       {"Vector", {{8}}, {.groups = 2}, "[8] has no columns"}});
}

}  // namespace
}  // namespace bridge
