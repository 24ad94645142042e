#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

TEST(ConcatOp, FollowsItsDefinition) {
  expect_definition(ops::kConcat, [](Maker& make) {
    const int64_t width = make.up_to(6);
    Example e;
    int64_t rows = 0;
    const int64_t parts = 1 + make.up_to(2);
    for (int64_t i = 0; i < parts; ++i) {
      e.shapes.push_back({make.up_to(5), width});
      e.parts.push_back(make.fresh(element_count(e.shapes.back())));
      append_rows(e.megatron, e.parts.back(), 0, e.shapes.back()[0], width);
      rows += e.shapes.back()[0];
    }
    e.megatron_shape = {rows, width};
    return e;
  });
}

// Group g contains its share of each part's rows, part after part.
TEST(ConcatOp, FollowsItsDefinitionInGroups) {
  expect_definition(ops::kConcat, [](Maker& make) {
    const int64_t width = make.up_to(6);
    const int64_t parts = 1 + make.up_to(2);
    Example e{.numbers = {.groups = make.up_to(5)}};
    int64_t rows = 0;
    for (int64_t i = 0; i < parts; ++i) {
      e.shapes.push_back({e.numbers.groups * make.up_to(3), width});
      e.parts.push_back(make.fresh(element_count(e.shapes.back())));
      rows += e.shapes.back()[0];
    }
    for (int64_t g = 0; g < e.numbers.groups; ++g) {
      for (size_t i = 0; i < e.parts.size(); ++i) {
        const int64_t share = e.shapes[i][0] / e.numbers.groups;
        append_rows(e.megatron, e.parts[i], g * share, share, width);
      }
    }
    e.megatron_shape = {rows, width};
    return e;
  });
}

// Tests what moe_mlp_glu_interleave_size N means for [gate; up] of one expert: N rows of gate, N
// rows of up, and so on. The definition derives row r of the Megatron side from row numbers alone.
TEST(ConcatOp, GroupsInterleaveGateAndUp) {
  constexpr int64_t kRows = 12;
  constexpr int64_t kWidth = 3;
  for (const int64_t block : {1, 2, 3, 4, 6, 12}) {
    const OpLayout layout(ops::kConcat, {{kRows, kWidth}, {kRows, kWidth}},
                          {.groups = kRows / block});
    EXPECT_EQ(layout.megatron_shape(), (Shape{2 * kRows, kWidth}));
    for (int64_t row = 0; row < 2 * kRows; ++row) {
      const int64_t part = row / block % 2;
      const int64_t part_row = row / (2 * block) * block + row % block;
      std::vector<bridge::Run> runs;
      layout.forward(row * kWidth, (row + 1) * kWidth, runs);
      ASSERT_EQ(runs.size(), 1U);
      EXPECT_EQ(runs[0].input, part) << block << ", row " << row;
      EXPECT_EQ(runs[0].begin, part_row * kWidth) << block << ", row " << row;
      runs.clear();
      layout.inverse(static_cast<int>(part), part_row * kWidth, (part_row + 1) * kWidth, runs);
      ASSERT_EQ(runs.size(), 1U);
      EXPECT_EQ(runs[0].begin, row * kWidth) << block << ", row " << row;
    }
  }
  // One block of all rows means that nothing is interleaved.
  const OpLayout plain(ops::kConcat, {{kRows, kWidth}, {kRows, kWidth}}, {});
  std::vector<bridge::Run> runs;
  plain.forward(0, 2 * kRows * kWidth, runs);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[1].input, 1);
  EXPECT_EQ(runs[1].length, kRows * kWidth);
}

TEST(ConcatOp, Refuses) {
  expect_refused(
      ops::kConcat,
      {{"Widths", {{2, 3}, {2, 4}}, {}, "[2, 3] and [2, 4] cannot be joined by rows"},
       {"Ranks", {{2, 3}, {2}}, {}, "[2, 3] and [2] cannot be joined by rows"},
       {"Scalar", {{2}, {}}, {}, "[2] and [] cannot be joined by rows"},
       {"ScalarFirst", {{}, {2}}, {}, "[] and [] cannot be joined by rows"},
       {"Overflow", {{kHuge}, {kHuge}}, {}, "rows overflows 64 bits"},
       {"GroupRows", {{4, 3}, {5, 3}}, {.groups = 2}, "5 rows do not divide into 2 groups"}});
}

}  // namespace
}  // namespace bridge
