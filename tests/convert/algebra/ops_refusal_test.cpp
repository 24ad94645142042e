// Shapes and numbers that do not fit an op, hostile ones among them: refused before anything is laid out.
#include <gtest/gtest.h>

#include "bridge/convert/algebra/ops.h"
#include "bridge/io/base/error.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

using mappings::Op;

struct BadShape {
  std::string name;
  Op op;
  std::vector<Shape> shapes;
  OpNumbers numbers;
  std::string message;
};

OpNumbers heads(int64_t groups, int64_t heads) {
  return {.groups = groups, .heads = heads};
}
OpNumbers blocks(int64_t groups, int64_t blocks) {
  return {.groups = groups, .blocks = blocks};
}
OpNumbers parts_of(int64_t groups, std::vector<int64_t> split_rows) {
  return {.groups = groups, .split_rows = std::move(split_rows)};
}
OpNumbers vocab(int64_t rows) {
  return {.vocab_rows = rows};
}

class OpsRefusalTest : public testing::TestWithParam<BadShape> {};

TEST_P(OpsRefusalTest, IsBadInput) {
  const BadShape& bad = GetParam();
  expect_error(Code::kBadInput, bad.message, [&] { OpLayout(bad.op, bad.shapes, bad.numbers); });
}

const int64_t kHuge = int64_t{1} << 62;
const std::vector<Shape> kHeads = {{24, 8}, {6, 8}, {6, 8}};  // 4 heads of 3 in 2 groups
const BadShape kBadShapes[] = {
    {"ConcatWidths",
     Op::kConcat,
     {{2, 3}, {2, 4}},
     heads(0, 0),
     "[2, 3] and [2, 4] cannot be joined"},
    {"ConcatRanks", Op::kConcat, {{2, 3}, {2}}, heads(0, 0), "[2, 3] and [2] cannot be joined"},
    {"ConcatScalar", Op::kConcat, {{2}, {}}, heads(0, 0), "cannot be joined on axis 0"},
    {"ConcatOverflow", Op::kConcat, {{kHuge}, {kHuge}}, heads(0, 0), "overflows 64 bits"},
    {"ConcatGroupRows",
     Op::kConcat,
     {{4, 3}, {5, 3}},
     heads(2, 0),
     "5 rows cannot be split over 2 groups"},
    {"QkvWidths", Op::kQkv, {{4, 8}, {2, 8}, {2, 7}}, heads(2, 0), "cannot be joined"},
    {"QkvQueryRows",
     Op::kQkv,
     {{5, 8}, {2, 8}, {2, 8}},
     heads(2, 0),
     "5 rows cannot be split over 2"},
    {"QkvValueRows",
     Op::kQkv,
     {{4, 8}, {2, 8}, {3, 8}},
     heads(2, 0),
     "3 rows cannot be split over 2"},
    {"QkvNoGroups", Op::kQkv, {{4, 8}, {2, 8}, {2, 8}}, heads(0, 0), "split over 0 query groups"},
    {"QkvNegativeGroups", Op::kQkv, {{4}, {2}, {2}}, heads(-2, 0), "split over -2 query groups"},
    {"GatedWidths", Op::kGatedQkv, {{24, 8}, {6, 8}, {6, 7}}, heads(2, 4), "cannot be joined"},
    {"GatedNoGroups", Op::kGatedQkv, kHeads, heads(0, 4), "split over 0 query groups"},
    {"GatedNoHeads", Op::kGatedQkv, kHeads, heads(2, 0), "for each of 0 heads in 2 groups"},
    {"GatedNegativeHeads", Op::kGatedQkv, kHeads, heads(2, -4), "for each of -4 heads"},
    {"GatedHeadsInGroups", Op::kGatedQkv, kHeads, heads(2, 3),
     "24 rows are not a query and a gate for each of 3 heads in 2 groups"},
    {"GatedOddHead", Op::kGatedQkv, kHeads, heads(2, 8), "for each of 8 heads"},
    {"GatedManyHeads", Op::kGatedQkv, kHeads, heads(2, kHuge), "24 rows are not"},
    {"GatedKeyRows",
     Op::kGatedQkv,
     {{24, 8}, {5, 8}, {6, 8}},
     heads(2, 4),
     "5 rows cannot be split over 2 query groups"},
    {"GroupRows", Op::kGroup, {{9, 2}}, blocks(2, 3), "9 rows are not 3 equal blocks of 2 groups"},
    {"GroupNoGroups", Op::kGroup, {{6}}, blocks(0, 3), "3 equal blocks of 0 groups"},
    {"GroupNegative", Op::kGroup, {{6}}, blocks(-1, -6), "-6 equal blocks"},
    {"GroupOverflow", Op::kGroup, {{6}}, blocks(kHuge, kHuge), "overflows 64 bits"},
    {"UngroupNoGroups",
     Op::kUngroup,
     {{6, 2}},
     parts_of(0, {2, 4}),
     "6 rows are not 0 groups of the same parts"},
    {"UngroupScalar", Op::kUngroup, {{}}, parts_of(1, {1}), "0 rows are not 1 groups"},
    {"UngroupSum", Op::kUngroup, {{6, 2}}, parts_of(2, {2, 2}), "6 rows are not 2"},
    {"UngroupBeyond", Op::kUngroup, {{6, 2}}, parts_of(2, {4, 4}), "6 rows are not 2"},
    {"UngroupOddPart", Op::kUngroup, {{6, 2}}, parts_of(2, {3, 3}), "6 rows are not 2"},
    {"UngroupEmptyPart", Op::kUngroup, {{6, 2}}, parts_of(2, {6, 0}), "6 rows are not 2"},
    {"UngroupNegativePart", Op::kUngroup, {{6, 2}}, parts_of(2, {8, -2}), "6 rows are not 2"},
    {"UngroupOverflow",
     Op::kUngroup,
     {{6, 2}},
     parts_of(2, {kHuge, kHuge, kHuge, kHuge}),
     "6 rows are not 2"},
    {"VocabScalar", Op::kVocab, {{}}, vocab(5), "needs at least one axis"},
    {"VocabOverflow", Op::kVocab, {{2, 1 << 20}}, vocab(kHuge), "overflows 64 bits"},
    {"NegativeDimension", Op::kCopy, {{-1, 2}}, heads(0, 0), "negative dimension"},
};
INSTANTIATE_TEST_SUITE_P(Shapes, OpsRefusalTest, testing::ValuesIn(kBadShapes),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
