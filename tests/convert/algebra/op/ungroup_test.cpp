#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Row r of the part is row r % group of group r / group; the rows of a part of the split follow
// group after group.
TEST(UngroupOp, FollowsItsDefinition) {
  expect_definition(ops::kUngroup, [](Maker& make) {
    const int64_t groups = make.up_to(5);
    const int64_t parts = 1 + make.up_to(3);
    const int64_t width = make.up_to(3);
    Example e{.numbers = {.groups = groups}};
    std::vector<int64_t> ends;  // where the parts end in a group
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t rows = make.up_to(4);
      e.numbers.split.push_back({"." + std::to_string(i), rows * groups});
      ends.push_back((ends.empty() ? 0 : ends.back()) + rows);
    }
    const int64_t group = ends.back();
    const bool conv = make.up_to(2) == 1;
    e.shapes = {conv ? Shape{groups * group, 1, width} : Shape{groups * group, width}};
    e.parts = {make.fresh(groups * group * width)};
    for (int64_t part = 0; part < parts; ++part) {
      for (int64_t row = 0; row < groups * group; ++row) {
        const int64_t in_group = row % group;
        const bool after = part == 0 || in_group >= ends[static_cast<size_t>(part) - 1];
        if (after && in_group < ends[static_cast<size_t>(part)]) {
          append_rows(e.megatron, e.parts[0], row, 1, width);
        }
      }
    }
    e.megatron_shape = e.shapes[0];
    return e;
  });
}

OpNumbers parts_of(int64_t groups, const std::vector<int64_t>& rows) {
  OpNumbers numbers{.groups = groups};
  for (const int64_t of_part : rows) numbers.split.push_back({".part", of_part});
  return numbers;
}

TEST(UngroupOp, Refuses) {
  expect_refused(
      ops::kUngroup,
      {{"NoGroups", {{6, 2}}, parts_of(0, {2, 4}), "0 groups"},
       {"Scalar", {{}}, parts_of(1, {1}), "no rows to take apart"},
       {"Nothing", {{0, 2}}, parts_of(1, {}), "no rows to take apart"},
       {"Sum", {{6, 2}}, parts_of(2, {2, 2}), "the parts of 'split' have 4 rows, the tensor 6"},
       {"Beyond", {{6, 2}}, parts_of(2, {4, 4}), "the parts of 'split' have 8 rows, the tensor 6"},
       {"OddPart", {{6, 2}}, parts_of(2, {3, 3}), "3 rows of '.part' do not divide into 2 groups"},
       {"EmptyPart", {{6, 2}}, parts_of(2, {6, 0}), "0 rows of '.part' in 'split'"},
       {"NegativePart", {{6, 2}}, parts_of(2, {8, -2}), "-2 rows of '.part' in 'split'"},
       {"Overflow",
        {{6, 2}},
        parts_of(2, {kHuge, kHuge, kHuge, kHuge}),
        "rows of 'split' overflows 64 bits"}});
}

}  // namespace
}  // namespace bridge
