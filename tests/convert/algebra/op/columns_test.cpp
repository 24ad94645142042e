#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Row r of block b is row r of the part from column b * width on.
TEST(ColumnsOp, FollowsItsDefinition) {
  expect_definition(ops::kColumns, [](Maker& make) {
    const int64_t rows = make.up_to(5);
    const int64_t blocks = make.up_to(4);
    const int64_t width = make.up_to(6);
    Example e{.shapes = {{rows, blocks * width}}, .numbers = {.groups = blocks}};
    e.parts = {make.fresh(rows * blocks * width)};
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t row = 0; row < rows; ++row) {
        append_rows(e.megatron, e.parts[0], row * blocks + block, 1, width);
      }
    }
    e.megatron_shape = {blocks * rows, width};
    return e;
  });
}

TEST(ColumnsOp, Refuses) {
  expect_refused(
      ops::kColumns,
      {{"Columns", {{3, 9}}, {.groups = 2}, "9 columns do not divide into 2 blocks"},
       {"NoBlocks", {{3, 8}}, {.groups = 0}, "8 columns do not divide into 0 blocks"},
       {"NegativeBlocks", {{3, 8}}, {.groups = -2}, "8 columns do not divide into -2 blocks"},
       {"Vector", {{8}}, {.groups = 2}, "[8] is not a matrix"},
       {"Cube", {{2, 2, 2}}, {.groups = 2}, "[2, 2, 2] is not a matrix"},
       {"Overflow", {{kHuge, 0}}, {.groups = 4}, "rows overflows 64 bits"}});
}

}  // namespace
}  // namespace bridge
