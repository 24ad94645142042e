// The test that every op passes against its definition, which the op's test writes out element by
// element: both directions over random shapes, and every slice equal to that slice of the whole.
// Shapes and numbers that do not fit, some of them hostile, are refused before anything is laid
// out.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bridge/convert/algebra/op_layout.h"
#include "mappings/op/ops.h"
#include "tests/convert/fixtures.h"

namespace bridge {

using mappings::OpNumbers;
namespace ops = mappings::ops;

using Values = std::vector<int32_t>;  // 0 is padding; real elements are numbered from 1

struct Example {
  std::vector<Shape> shapes = {};
  OpNumbers numbers = {};
  std::vector<Values> parts = {};
  Values megatron = {};  // as the definition gives it
  Shape megatron_shape = {};
  // Elements at the end of the only part that the Megatron side lacks.
  int64_t lost = 0;
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

inline void append_rows(Values& out, const Values& from, int64_t first, int64_t rows,
                        int64_t width) {
  for (int64_t i = first * width; i < (first + rows) * width; ++i) {
    out.push_back(from.at(static_cast<size_t>(i)));
  }
}

inline void follow(const std::vector<bridge::Run>& runs, const std::vector<Values>& inputs,
                   Values& out) {
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

// Cuts [0, end) at random places, as the executor may.
template <typename Fn>
void for_random_slices(std::mt19937& random, int64_t end, Fn&& fn) {
  for (int64_t begin = 0; begin < end;) {
    const int64_t next = std::min(end, begin + 1 + static_cast<int64_t>(random()) % 17);
    fn(begin, next);
    begin = next;
  }
}

// Boxes of random sizes give the same elements, whatever memory they are gathered in, and every
// element of the input belongs to one box.
template <typename BoxAt>
void expect_boxes(std::mt19937& random, const Values& input, const Values& output, BoxAt&& box_at) {
  Values found;
  Values owners(input.size());
  while (found.size() < output.size()) {
    const Box box = box_at(std::ssize(found), 1 + static_cast<int64_t>(random() % 40));
    ASSERT_GT(box.length, 0);
    Values scratch(static_cast<size_t>(kLargestCell) + random() % 20);
    Values out(static_cast<size_t>(box.length));
    gather_box(box, sizeof(int32_t), std::as_writable_bytes(std::span(scratch)),
               std::as_writable_bytes(std::span(out)),
               [&](int64_t begin, std::span<std::byte> into, bool owned) {
                 const auto first = static_cast<size_t>(begin);
                 const size_t count = into.size() / sizeof(int32_t);
                 ASSERT_LE(first + count, input.size());
                 std::memcpy(into.data(), &input[first], into.size());
                 for (size_t i = first; i < first + count; ++i) owners[i] += owned ? 1 : 0;
               });
    found.insert(found.end(), out.begin(), out.end());
  }
  ASSERT_EQ(found, output);
  ASSERT_EQ(owners, Values(input.size(), 1));
}

inline void expect_definition(const mappings::Op& op, const Example& e, unsigned seed) {
  const OpLayout layout(op, e.shapes, e.numbers);
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
    const int64_t size = std::ssize(e.parts[part]) - e.lost;
    Values back;
    for_random_slices(random, size, [&](int64_t begin, int64_t end) {
      runs.clear();
      layout.inverse(static_cast<int>(part), begin, end, runs);
      follow(runs, {e.megatron}, back);
    });
    ASSERT_EQ(back, Values(e.parts[part].begin(), e.parts[part].begin() + size));
  }

  if (!layout.scattered()) return;
  const int64_t end = layout.megatron_elements();
  expect_boxes(random, e.parts[0], e.megatron,
               [&](int64_t begin, int64_t most) { return layout.forward_box(begin, end, most); });
  expect_boxes(random, e.megatron, e.parts[0],
               [&](int64_t begin, int64_t most) { return layout.inverse_box(begin, end, most); });
}

template <typename MakeExample>
void expect_definition(const mappings::Op& op, const MakeExample& make_example) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Maker make(seed);
    expect_definition(op, make_example(make), seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// The same for matrices and for biases, which have no second axis: make_example(make, bias).
template <typename MakeExample>
void expect_definition_of_both(const mappings::Op& op, const MakeExample& make_example) {
  for (const bool bias : {false, true}) {
    SCOPED_TRACE(bias ? "biases" : "matrices");
    expect_definition(op, [&](Maker& make) { return make_example(make, bias); });
  }
}

struct BadOperands {
  std::string name;
  std::vector<Shape> shapes;
  OpNumbers numbers;
  std::string message;
};

inline void expect_refused(const mappings::Op& op, const std::vector<BadOperands>& all) {
  for (const BadOperands& bad : all) {
    SCOPED_TRACE(bad.name);
    expect_error(Code::kBadInput, bad.message, [&] { OpLayout(op, bad.shapes, bad.numbers); });
  }
}

inline OpNumbers heads_in_groups(int64_t groups, int64_t heads) {
  return {.groups = groups, .heads = heads};
}

inline constexpr int64_t kHuge = int64_t{1} << 62;

}  // namespace bridge
