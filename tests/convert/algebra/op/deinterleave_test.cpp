#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Element i of sequence g is element i * groups + g of the part, in every row.
TEST(DeinterleaveOp, FollowsItsDefinition) {
  expect_definition(ops::kDeinterleave, [](Maker& make) {
    const int64_t rows = make.up_to(4);
    const int64_t groups = make.up_to(4);
    const int64_t length = make.up_to(5);
    const int64_t width = groups * length;
    Example e{.shapes = {rows == 1 ? Shape{width} : Shape{rows, width}},
              .numbers = {.groups = groups}};
    e.parts = {make.fresh(rows * width)};
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t i = 0; i < length; ++i) {
          append_rows(e.megatron, e.parts[0], row * width + i * groups + g, 1, 1);
        }
      }
    }
    e.megatron_shape = e.shapes[0];
    return e;
  });
}

TEST(DeinterleaveOp, Refuses) {
  expect_refused(
      ops::kDeinterleave,
      {{"Odd", {{3, 9}}, {.groups = 2}, "9 elements do not divide into 2 sequences"},
       {"NoGroups", {{3, 8}}, {.groups = 0}, "8 elements do not divide into 0 sequences"},
       {"Negative", {{3, 8}}, {.groups = -2}, "8 elements do not divide into -2 sequences"},
       {"Empty", {{3, 0}}, {.groups = 2}, "0 elements do not divide into 2 sequences"},
       {"Scalar", {{}}, {.groups = 1}, "0 elements do not divide into 1 sequences"}});
}

}  // namespace
}  // namespace bridge
