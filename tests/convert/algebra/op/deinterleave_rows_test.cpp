#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Row g * length + i is row i * groups + g of the part, in every matrix of the stack.
TEST(DeinterleaveRowsOp, FollowsItsDefinition) {
  expect_definition(ops::kDeinterleaveRows, [](Maker& make) {
    const int64_t stack = make.up_to(3);
    const int64_t groups = make.up_to(3);
    const int64_t length = make.up_to(4);
    const int64_t columns = make.up_to(5);
    const int64_t rows = groups * length;
    const bool matrix = stack == 1;
    Example e{.shapes = {matrix ? Shape{rows, columns} : Shape{stack, rows, columns}},
              .numbers = {.groups = groups}};
    e.parts = {make.fresh(stack * rows * columns)};
    for (int64_t s = 0; s < stack; ++s) {
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t i = 0; i < length; ++i) {
          append_rows(e.megatron, e.parts[0], s * rows + i * groups + g, 1, columns);
        }
      }
    }
    e.megatron_shape = e.shapes[0];
    return e;
  });
}

TEST(DeinterleaveRowsOp, Refuses) {
  expect_refused(ops::kDeinterleaveRows,
                 {{"Odd", {{9, 3}}, {.groups = 2}, "9 rows do not divide into 2 sequences"},
                  {"NoGroups", {{8, 3}}, {.groups = 0}, "8 rows do not divide into 0 sequences"},
                  {"Negative", {{8, 3}}, {.groups = -2}, "8 rows do not divide into -2 sequences"},
                  {"Empty", {{0, 3}}, {.groups = 2}, "0 rows do not divide into 2 sequences"},
                  {"Vector", {{8}}, {.groups = 2}, "[8] has no rows"}});
}

}  // namespace
}  // namespace bridge
