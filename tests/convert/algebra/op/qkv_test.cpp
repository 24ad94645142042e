#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Group g holds the query rows of its heads, then its key rows, then its value rows. A bias has no
// second axis.
Example example(Maker& make, bool bias) {
  const int64_t groups = make.up_to(4);
  const int64_t heads = make.up_to(3);
  const int64_t head_dim = make.up_to(4);
  const int64_t width = bias ? 1 : make.up_to(6);
  Example e{.numbers = {.groups = groups}};
  const int64_t q_rows = heads * head_dim;  // of a group
  for (const int64_t rows : {groups * q_rows, groups * head_dim, groups * head_dim}) {
    e.shapes.push_back(bias ? Shape{rows} : Shape{rows, width});
    e.parts.push_back(make.fresh(rows * width));
  }
  for (int64_t g = 0; g < groups; ++g) {
    append_rows(e.megatron, e.parts[0], g * q_rows, q_rows, width);
    append_rows(e.megatron, e.parts[1], g * head_dim, head_dim, width);
    append_rows(e.megatron, e.parts[2], g * head_dim, head_dim, width);
  }
  const int64_t rows = groups * (q_rows + 2 * head_dim);
  e.megatron_shape = bias ? Shape{rows} : Shape{rows, width};
  return e;
}

TEST(QkvOp, FollowsItsDefinition) {
  expect_definition_of_both(ops::kQkv, example);
}

TEST(QkvOp, Refuses) {
  expect_refused(ops::kQkv,
                 {{"Widths", {{4, 8}, {2, 8}, {2, 7}}, {.groups = 2}, "cannot be joined"},
                  {"QueryRows",
                   {{5, 8}, {2, 8}, {2, 8}},
                   {.groups = 2},
                   "5 rows do not divide into 2 query groups"},
                  {"ValueRows",
                   {{4, 8}, {2, 8}, {3, 8}},
                   {.groups = 2},
                   "3 rows do not divide into 2 query groups"},
                  {"NoGroups", {{4, 8}, {2, 8}, {2, 8}}, {.groups = 0}, "0 query groups"},
                  {"NegativeGroups", {{4}, {2}, {2}}, {.groups = -2}, "-2 query groups"}});
}

}  // namespace
}  // namespace bridge
