#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Group g has the queries of its heads, then their gates, then its key rows, then its value rows,
// which may have another width. A head of q is its query rows, then its gate rows.
Example example(Maker& make, bool bias) {
  const int64_t groups = make.up_to(4);
  const int64_t in_group = make.up_to(3);
  const int64_t head_dim = make.up_to(4);
  const int64_t value_dim = make.up_to(4);
  const int64_t width = bias ? 1 : make.up_to(6);
  Example e{.numbers = {.groups = groups, .heads = groups * in_group}};
  for (const int64_t rows :
       {groups * in_group * 2 * head_dim, groups * head_dim, groups * value_dim}) {
    e.shapes.push_back(bias ? Shape{rows} : Shape{rows, width});
    e.parts.push_back(make.fresh(rows * width));
  }
  for (int64_t g = 0; g < groups; ++g) {
    for (const int64_t half : {0, 1}) {
      for (int64_t head = g * in_group; head < (g + 1) * in_group; ++head) {
        append_rows(e.megatron, e.parts[0], (2 * head + half) * head_dim, head_dim, width);
      }
    }
    append_rows(e.megatron, e.parts[1], g * head_dim, head_dim, width);
    append_rows(e.megatron, e.parts[2], g * value_dim, value_dim, width);
  }
  const int64_t rows = groups * (2 * in_group * head_dim + head_dim + value_dim);
  e.megatron_shape = bias ? Shape{rows} : Shape{rows, width};
  return e;
}

TEST(GatedQkvOp, FollowsItsDefinition) {
  expect_definition_of_both(ops::kGatedQkv, example);
}

TEST(GatedQkvOp, Refuses) {
  const std::vector<Shape> good = {{24, 8}, {6, 8}, {6, 8}};  // 4 heads of 3 in 2 groups
  expect_refused(
      ops::kGatedQkv,
      {{"Widths", {{24, 8}, {6, 8}, {6, 7}}, heads_in_groups(2, 4), "cannot be joined"},
       {"NoGroups", good, heads_in_groups(0, 4), "0 query groups"},
       {"NoHeads", good, heads_in_groups(2, 0), "0 heads do not divide into 2 query groups"},
       {"NegativeHeads", good, heads_in_groups(2, -4),
        "-4 heads do not divide into 2 query groups"},
       {"HeadsInGroups", good, heads_in_groups(2, 3), "3 heads do not divide into 2 query groups"},
       {"OddHead", good, heads_in_groups(2, 8),
        "24 rows are not a query and a gate for each of 8 heads"},
       {"ManyHeads", good, heads_in_groups(2, kHuge), "heads overflows 64 bits"},
       {"KeyRows",
        {{24, 8}, {5, 8}, {6, 8}},
        heads_in_groups(2, 4),
        "5 rows do not divide into 2 query groups"},
       {"KeyWidth",
        {{24, 8}, {8, 8}, {6, 8}},
        heads_in_groups(2, 4),
        "heads of 3 rows in 2 query groups need a key of 6 rows, not 8"}});
}

}  // namespace
}  // namespace bridge
