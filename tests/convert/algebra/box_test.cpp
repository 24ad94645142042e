// Boxes larger than the rows of one pass of the copy, of elements of every size, and what is read
// for them. op_property.h tests small boxes of every op that has them.
#include "bridge/convert/algebra/box.h"

#include <cstring>
#include <numeric>

#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

constexpr int64_t kRows = 70;
constexpr int64_t kColumns = 90;

// A matrix whose element (row, column) has this value, transposed in one box.
template <typename T>
void expect_transposed() {
  const OpLayout layout(ops::kTranspose, {{kRows, kColumns}}, {});
  const Box box = layout.forward_box(0, kRows * kColumns, kRows * kColumns);
  ASSERT_EQ(box.length, kRows * kColumns);
  std::vector<T> input(static_cast<size_t>(box.length));
  std::iota(input.begin(), input.end(), T{1});
  for (const int64_t memory : {int64_t{16}, int64_t{1000}, kRows * kColumns}) {
    std::vector<T> scratch(static_cast<size_t>(memory));
    std::vector<T> out(input.size());
    gather_box(box, sizeof(T), std::as_writable_bytes(std::span(scratch)),
               std::as_writable_bytes(std::span(out)),
               [&](int64_t begin, std::span<std::byte> into, bool /*owned*/) {
                 std::memcpy(into.data(), input.data() + begin, into.size());
               });
    for (int64_t column = 0; column < kColumns; ++column) {
      for (int64_t row = 0; row < kRows; ++row) {
        ASSERT_EQ(out[static_cast<size_t>(column * kRows + row)],
                  input[static_cast<size_t>(row * kColumns + column)])
            << memory << ": " << row << ", " << column;
      }
    }
  }
}

TEST(Box, ElementsOfEverySize) {
  expect_transposed<uint8_t>();
  expect_transposed<uint16_t>();
  expect_transposed<uint32_t>();
  expect_transposed<uint64_t>();
}

struct Read {
  int64_t begin;
  int64_t length;
  bool owned;
  bool operator==(const Read&) const = default;
};

std::vector<Read> reads_of(const Box& box, int64_t memory) {
  std::vector<std::byte> scratch(static_cast<size_t>(memory));
  std::vector<std::byte> out(static_cast<size_t>(box.length));
  std::vector<Read> reads;
  gather_box(box, 1, scratch, out, [&](int64_t begin, std::span<std::byte> into, bool owned) {
    reads.push_back({begin, std::ssize(into), owned});
  });
  return reads;
}

// Rows of 40 columns, which belong to two sequences in turn: a column is read with its neighbour of
// the other sequence, and counted for the first.
TEST(Box, InterleavedColumnsAreReadWithTheirNeighbours) {
  const OpLayout layout(ops::kTransposeDeinterleave, {{4, 40}}, {.groups = 2});
  using Reads = std::vector<Read>;
  // Columns 3 and 5.
  const Box box = layout.forward_box(84, 160, 8);
  EXPECT_EQ(box.length, 8);
  EXPECT_EQ(reads_of(box, 16),
            (Reads{{2, 4, false}, {42, 4, false}, {82, 4, false}, {122, 4, false}}));
  EXPECT_EQ(reads_of(layout.forward_box(0, 80, 80), 200), (Reads{{0, 160, true}}));
}

TEST(Box, StretchesAreNoLongerThanTheMemory) {
  const OpLayout layout(ops::kTranspose, {{3, 40}}, {});
  EXPECT_EQ(reads_of(layout.forward_box(0, 120, 120), 16).size(), 9U);
  EXPECT_EQ(reads_of(layout.forward_box(0, 120, 120), 80).size(), 2U);
}

TEST(Box, IsTheSameWhereItEnds) {
  const OpLayout layout(ops::kTransposeDeinterleave, {{2, 5, 12}}, {.groups = 3});
  for (int64_t begin = 0; begin < 120; ++begin) {
    for (int64_t most = 1; most <= 120; ++most) {
      const Box box = layout.forward_box(begin, 120, most);
      ASSERT_LE(box.length, std::min(most, 120 - begin));
      const Box again = layout.forward_box(begin, begin + box.length, box.length);
      ASSERT_EQ(again.length, box.length);
      ASSERT_EQ(again.axes.size(), box.axes.size());
      for (size_t i = 0; i < box.axes.size(); ++i) {
        ASSERT_EQ(again.axes[i].first, box.axes[i].first);
        ASSERT_EQ(again.axes[i].count, box.axes[i].count);
      }
    }
  }
}

}  // namespace
}  // namespace bridge
