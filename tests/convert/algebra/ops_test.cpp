// The op algebra against its definitions, written out element by element: random shapes, random
// slices, both directions.
#include "bridge/convert/algebra/ops.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

using mappings::Op;
using Values = std::vector<int32_t>;  // 0 is padding; real elements are numbered from 1

struct Example {
  Op op;
  std::vector<Shape> shapes = {};
  OpNumbers numbers = {};
  std::vector<Values> parts = {};
  Values megatron = {};  // by definition
  Shape megatron_shape = {};
};

class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}
  int64_t up_to(int64_t most) { return 1 + static_cast<int64_t>(random_()) % most; }
  Values fresh(int64_t count) {
    Values values(static_cast<size_t>(count));
    for (int32_t& value : values) value = ++last_;
    return values;
  }

 private:
  std::mt19937 random_;
  int32_t last_ = 0;
};

void append_rows(Values& out, const Values& from, int64_t first, int64_t rows, int64_t width) {
  for (int64_t i = first * width; i < (first + rows) * width; ++i) {
    out.push_back(from[static_cast<size_t>(i)]);
  }
}

Example copy_example(Maker& make) {
  Example e{.op = Op::kCopy, .shapes = {{make.up_to(7), make.up_to(5), make.up_to(3)}}};
  e.parts = {make.fresh(element_count(e.shapes[0]))};
  e.megatron = e.parts[0];
  e.megatron_shape = e.shapes[0];
  return e;
}

Example concat_example(Maker& make) {
  const int64_t width = make.up_to(6);
  Example e{.op = Op::kConcat};
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
}

// Group g holds its share of each part's rows, part after part.
Example concat_groups_example(Maker& make) {
  const int64_t width = make.up_to(6);
  const int64_t parts = 1 + make.up_to(2);
  Example e{.op = Op::kConcat, .numbers = {.groups = make.up_to(5)}};
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
}

// Group g holds the query rows of its heads, then its key rows, then its value rows. A bias has no
// second axis.
Example qkv_example(Maker& make, bool bias) {
  const int64_t groups = make.up_to(4);
  const int64_t heads = make.up_to(3);
  const int64_t head_dim = make.up_to(4);
  const int64_t width = bias ? 1 : make.up_to(6);
  Example e{.op = Op::kQkv, .numbers = {.groups = groups}};
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

// Group g holds the queries of its heads, then their gates, then its key rows, then its value rows, which may be of
// another width. A head of q is its query rows, then its gate rows.
Example gated_qkv_example(Maker& make, bool bias) {
  const int64_t groups = make.up_to(4);
  const int64_t in_group = make.up_to(3);
  const int64_t head_dim = make.up_to(4);
  const int64_t value_dim = make.up_to(4);
  const int64_t width = bias ? 1 : make.up_to(6);
  Example e{.op = Op::kGatedQkv, .numbers = {.groups = groups, .heads = groups * in_group}};
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

// Row r of the part is row r % group of group r / group; the rows of a part of the split come group after group.
Example ungroup_example(Maker& make) {
  const int64_t groups = make.up_to(5);
  const int64_t parts = 1 + make.up_to(3);
  const int64_t width = make.up_to(3);
  Example e{.op = Op::kUngroup, .numbers = {.groups = groups}};
  std::vector<int64_t> ends;  // of the parts in a group
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t rows = make.up_to(4);
    e.numbers.split_rows.push_back(rows * groups);
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
}

// Row r of group g in block b is row r of block b in group g.
Example group_example(Maker& make) {
  const int64_t blocks = make.up_to(4);
  const int64_t groups = make.up_to(5);
  const int64_t rows = make.up_to(3);
  const int64_t width = make.up_to(6);
  const int64_t all = blocks * groups * rows;
  const bool bias = width == 1;
  Example e{.op = Op::kGroup,
            .shapes = {bias ? Shape{all} : Shape{all, width}},
            .numbers = {.groups = groups, .blocks = blocks}};
  e.parts = {make.fresh(all * width)};
  for (int64_t row = 0; row < all; ++row) {
    const int64_t group = row / (blocks * rows);
    const int64_t block = row / rows % blocks;
    append_rows(e.megatron, e.parts[0], (block * groups + group) * rows + row % rows, 1, width);
  }
  e.megatron_shape = e.shapes[0];
  return e;
}

Example vocab_example(Maker& make) {
  const int64_t rows = make.up_to(6);
  const int64_t width = make.up_to(5);
  Example e{.op = Op::kVocab, .shapes = {{rows, width}}, .numbers = {.vocab_rows = make.up_to(9)}};
  e.parts = {make.fresh(rows * width)};
  append_rows(e.megatron, e.parts[0], 0, std::min(rows, e.numbers.vocab_rows), width);
  e.megatron.resize(static_cast<size_t>(e.numbers.vocab_rows * width), 0);
  e.megatron_shape = {e.numbers.vocab_rows, width};
  return e;
}

constexpr unsigned kKinds = 10;
Example example(unsigned seed) {
  Maker make(seed);
  switch (seed % kKinds) {
    case 0:
      return copy_example(make);
    case 1:
      return concat_example(make);
    case 2:
      return qkv_example(make, false);
    case 3:
      return qkv_example(make, true);
    case 4:
      return concat_groups_example(make);
    case 5:
      return gated_qkv_example(make, false);
    case 6:
      return gated_qkv_example(make, true);
    case 7:
      return ungroup_example(make);
    case 8:
      return group_example(make);
    default:
      return vocab_example(make);
  }
}

void follow(const std::vector<bridge::Run>& runs, const std::vector<Values>& inputs, Values& out) {
  for (const Run& run : runs) {
    ASSERT_GT(run.length, 0);
    for (int64_t i = 0; i < run.length; ++i) {
      out.push_back(
          run.input == Run::kZeros
              ? 0
              : inputs.at(static_cast<size_t>(run.input)).at(static_cast<size_t>(run.begin + i)));
    }
  }
}

// [0, end) cut at random places: what the executor may ask for.
template <typename Fn>
void for_random_slices(std::mt19937& random, int64_t end, Fn&& fn) {
  for (int64_t begin = 0; begin < end;) {
    const int64_t next = std::min(end, begin + 1 + static_cast<int64_t>(random()) % 17);
    fn(begin, next);
    begin = next;
  }
}

class OpsTest : public testing::TestWithParam<unsigned> {};

TEST_P(OpsTest, BothDirectionsFollowTheDefinition) {
  for (unsigned seed = GetParam(); seed < 200 * kKinds; seed += kKinds) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Example e = example(seed);
    const OpLayout layout(e.op, e.shapes, e.numbers);
    ASSERT_EQ(layout.megatron_shape(), e.megatron_shape);
    ASSERT_EQ(layout.megatron_elements(), std::ssize(e.megatron));

    std::mt19937 random(seed);
    Values megatron;
    std::vector<bridge::Run> runs;
    for_random_slices(random, std::ssize(e.megatron), [&](int64_t begin, int64_t end) {
      runs.clear();
      layout.forward(begin, end, runs);
      follow(runs, e.parts, megatron);
    });
    ASSERT_EQ(megatron, e.megatron);

    for (size_t part = 0; part < e.parts.size(); ++part) {
      // Rows that a smaller vocabulary cut off are not there to come back.
      const int64_t size = e.op == Op::kVocab
                               ? std::min(std::ssize(e.parts[0]), std::ssize(e.megatron))
                               : std::ssize(e.parts[part]);
      Values back;
      for_random_slices(random, size, [&](int64_t begin, int64_t end) {
        runs.clear();
        layout.inverse(static_cast<int>(part), begin, end, runs);
        follow(runs, {e.megatron}, back);
      });
      ASSERT_EQ(back, Values(e.parts[part].begin(), e.parts[part].begin() + size));
    }
  }
}

const std::string kExampleNames[] = {"Copy",         "Concat",   "Qkv",          "QkvBias",
                                     "ConcatGroups", "GatedQkv", "GatedQkvBias", "Ungroup",
                                     "Group",        "Vocab"};
INSTANTIATE_TEST_SUITE_P(Ops, OpsTest, testing::Range(0U, kKinds),
                         [](const auto& test) { return kExampleNames[test.param]; });

// What moe_mlp_glu_interleave_size N means for [gate; up] of one expert: N rows of gate, N of up, and so on. Row r of
// the Megatron side is told by numbers of rows alone.
TEST(Ops, GroupsInterleaveGateAndUp) {
  constexpr int64_t kRows = 12;
  constexpr int64_t kWidth = 3;
  for (const int64_t block : {1, 2, 3, 4, 6, 12}) {
    const OpLayout layout(Op::kConcat, {{kRows, kWidth}, {kRows, kWidth}},
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
  // One block of all rows is no interleaving.
  const OpLayout plain(Op::kConcat, {{kRows, kWidth}, {kRows, kWidth}}, {});
  std::vector<bridge::Run> runs;
  plain.forward(0, 2 * kRows * kWidth, runs);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[1].input, 1);
  EXPECT_EQ(runs[1].length, kRows * kWidth);
}

TEST(Ops, RunsAreAppended) {
  const OpLayout layout(Op::kCopy, {{4}}, {});
  std::vector<bridge::Run> runs;
  layout.forward(0, 1, runs);
  layout.forward(1, 4, runs);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[1].begin, 1);
  EXPECT_EQ(runs[1].length, 3);
}

}  // namespace
}  // namespace bridge
