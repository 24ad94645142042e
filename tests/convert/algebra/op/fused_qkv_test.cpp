#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// The part is the query heads of every group, then a key head for each, then a value head for each.
// Group g has its query heads, then its key head, then its value head.
Example example(Maker& make, bool bias) {
  const int64_t groups = make.up_to(4);
  const int64_t in_group = make.up_to(3);
  const int64_t head_dim = make.up_to(4);
  const int64_t width = bias ? 1 : make.up_to(6);
  const int64_t heads = groups * in_group;
  const int64_t rows = (heads + 2 * groups) * head_dim;
  Example e{.shapes = {bias ? Shape{rows} : Shape{rows, width}},
            .numbers = {.groups = groups, .heads = heads}};
  e.parts = {make.fresh(rows * width)};
  for (int64_t g = 0; g < groups; ++g) {
    append_rows(e.megatron, e.parts[0], g * in_group * head_dim, in_group * head_dim, width);
    append_rows(e.megatron, e.parts[0], (heads + g) * head_dim, head_dim, width);
    append_rows(e.megatron, e.parts[0], (heads + groups + g) * head_dim, head_dim, width);
  }
  e.megatron_shape = e.shapes[0];
  return e;
}

TEST(FusedQkvOp, FollowsItsDefinition) {
  expect_definition_of_both(ops::kFusedQkv, example);
}

TEST(FusedQkvOp, Refuses) {
  expect_refused(
      ops::kFusedQkv,
      {{"NoGroups", {{24, 8}}, heads_in_groups(0, 4), "0 query groups"},
       {"NegativeGroups", {{24, 8}}, heads_in_groups(-2, 4), "-2 query groups"},
       {"NoHeads", {{24, 8}}, heads_in_groups(2, 0), "0 heads do not divide into 2 query groups"},
       {"NegativeHeads",
        {{24, 8}},
        heads_in_groups(2, -4),
        "-4 heads do not divide into 2 query groups"},
       {"HeadsInGroups",
        {{24, 8}},
        heads_in_groups(2, 3),
        "3 heads do not divide into 2 query groups"},
       {"Rows",
        {{25, 8}},
        heads_in_groups(2, 4),
        "25 rows are not 4 heads of queries, 2 of keys and 2 of values"},
       {"NoRows",
        {{0, 8}},
        heads_in_groups(2, 4),
        "0 rows are not 4 heads of queries, 2 of keys and 2 of values"},
       {"Scalar", {{}}, heads_in_groups(1, 1), "0 rows are not 1 heads"},
       {"ManyGroups", {{24, 8}}, heads_in_groups(kHuge, kHuge), "heads overflows 64 bits"}});
}

}  // namespace
}  // namespace bridge
