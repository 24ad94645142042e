#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Row r of group g in block b is row r of block b in group g.
TEST(GroupOp, FollowsItsDefinition) {
  expect_definition(ops::kGroup, [](Maker& make) {
    const int64_t blocks = make.up_to(4);
    const int64_t groups = make.up_to(5);
    const int64_t rows = make.up_to(3);
    const int64_t width = make.up_to(6);
    const int64_t all = blocks * groups * rows;
    const bool bias = width == 1;
    Example e{.shapes = {bias ? Shape{all} : Shape{all, width}},
              .numbers = {.groups = groups, .blocks = blocks}};
    e.parts = {make.fresh(all * width)};
    for (int64_t row = 0; row < all; ++row) {
      const int64_t group = row / (blocks * rows);
      const int64_t block = row / rows % blocks;
      append_rows(e.megatron, e.parts[0], (block * groups + group) * rows + row % rows, 1, width);
    }
    e.megatron_shape = e.shapes[0];
    return e;
  });
}

OpNumbers blocks(int64_t groups, int64_t blocks) {
  return {.groups = groups, .blocks = blocks};
}

TEST(GroupOp, Refuses) {
  expect_refused(
      ops::kGroup,
      {{"Rows", {{9, 2}}, blocks(2, 3), "9 rows do not divide into 3 blocks of 2 groups"},
       {"NoGroups", {{6}}, blocks(0, 3), "6 rows do not divide into 3 blocks of 0 groups"},
       {"Negative", {{6}}, blocks(-1, -6), "6 rows do not divide into -6 blocks of -1 groups"},
       {"Overflow", {{6}}, blocks(kHuge, kHuge), "groups overflows 64 bits"},
       {"Scalar", {{}}, blocks(1, 1), "0 rows do not divide"}});
}

}  // namespace
}  // namespace bridge
