#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Column c is column (c + half) % columns of the part.
TEST(SwapColumnsOp, FollowsItsDefinition) {
  expect_definition(ops::kSwapColumns, [](Maker& make) {
    const int64_t rows = make.up_to(5);
    const int64_t half = make.up_to(6);
    Example e{.shapes = {{rows, 2 * half}}};
    e.parts = {make.fresh(rows * 2 * half)};
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < 2 * half; ++column) {
        append_rows(e.megatron, e.parts[0], row * 2 * half + (column + half) % (2 * half), 1, 1);
      }
    }
    e.megatron_shape = e.shapes[0];
    return e;
  });
}

TEST(SwapColumnsOp, Refuses) {
  expect_refused(ops::kSwapColumns,
                 {{"Odd", {{3, 9}}, {}, "[3, 9] is not a matrix with two halves of columns"},
                  {"NoColumns", {{3, 0}}, {}, "[3, 0] is not a matrix with two halves of columns"},
                  {"NoRows", {{0, 8}}, {}, "[0, 8] is not a matrix with two halves of columns"},
                  {"Vector", {{8}}, {}, "[8] is not a matrix with two halves of columns"},
                  {"Cube", {{2, 2, 2}}, {}, "[2, 2, 2] is not a matrix"},
                  {"Scalar", {{}}, {}, "[] is not a matrix"}});
}

}  // namespace
}  // namespace bridge
