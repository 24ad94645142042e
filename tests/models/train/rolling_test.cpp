// Rolling targets: vectors computed by hand, and the rule itself, token by token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/sequences.h"
#include "models/train/context_parallel.h"
#include "tests/refusal.h"

namespace models {
namespace {

at::Tensor row(const std::vector<int64_t>& numbers) {
  return at::tensor(at::ArrayRef<int64_t>(numbers));
}

int64_t number(const at::Tensor& x) {
  return x.item<int64_t>();
}

TEST(Rolling, ShiftsEverySequenceByItself) {
  const Rolled rolled = rolled_left(row({1, 2, 3, 4, 5}), {0, 3, 5});
  EXPECT_TRUE(rolled.values.equal(row({2, 3, 0, 5, 0})));
  EXPECT_EQ(number(rolled.sum), 10);
}

TEST(Rolling, OneSequence) {
  const Rolled rolled = rolled_left(row({7, 8, 9}), {0, 3});
  EXPECT_TRUE(rolled.values.equal(row({8, 9, 0})));
  EXPECT_EQ(number(rolled.sum), 17);
}

TEST(Rolling, EmptySequencesAndSequencesOfOneToken) {
  const Rolled rolled = rolled_left(row({1, 2, 3, 4}), {0, 0, 1, 1, 3, 4, 4});
  EXPECT_TRUE(rolled.values.equal(row({0, 3, 0, 0})));
  EXPECT_EQ(number(rolled.sum), 3);
}

TEST(Rolling, EachDepthShiftsWhatTheDepthBeforeLeft) {
  const Offsets offsets = {0, 3, 5};
  const Rolled second = rolled_left(rolled_left(row({1, 2, 3, 4, 5}), offsets).values, offsets);
  EXPECT_TRUE(second.values.equal(row({3, 0, 0, 0, 0})));
  EXPECT_EQ(number(second.sum), 3);
}

// Position numbers of three sections, [3, B, S], and a padding mask: the last axis is shifted.
TEST(Rolling, LeadingAxesAndTypes) {
  const at::Tensor positions = row({0, 1, 2, 0, 1}).view({1, 1, 5}).expand({3, 1, 5});
  const Rolled rolled = rolled_left(positions, {0, 3, 5});
  EXPECT_EQ(rolled.values.sizes(), at::IntArrayRef({3, 1, 5}));
  for (int64_t section = 0; section < 3; ++section) {
    EXPECT_TRUE(rolled.values.select(0, section).equal(row({1, 2, 0, 1, 0}).view({1, 5})));
  }
  const at::Tensor padding = row({0, 0, 1, 0, 1}).to(at::kBool);
  const Rolled mask = rolled_left(padding, {0, 3, 5});
  EXPECT_TRUE(mask.values.equal(row({0, 1, 0, 1, 0}).to(at::kBool)));
  EXPECT_EQ(number(mask.sum), 2);
  const Rolled weights = rolled_left(row({1, 0, 1}).to(at::kFloat), {0, 3});
  EXPECT_EQ(weights.values.scalar_type(), at::kFloat);
  EXPECT_EQ(weights.sum.item<float>(), 1);
}

// Two sequences of 2 and 3 tokens, padded to 4 each: by the offsets of the unpadded sequences, the
// second one would begin inside the first one's padding.
TEST(Rolling, PaddedSequencesEndWhereTheirPaddingEnds) {
  const at::Tensor ids = row({1, 2, 90, 91, 3, 4, 5, 92});
  EXPECT_TRUE(rolled_left(ids, {0, 4, 8}).values.equal(row({2, 90, 91, 0, 4, 5, 92, 0})));
  EXPECT_FALSE(rolled_left(ids, {0, 2, 8}).values.equal(row({2, 90, 91, 0, 4, 5, 92, 0})));
}

// What pull request 2043 of Megatron-LM removed: a shift of the row as a whole gives the last token
// of a sequence the first one of the next as its target.
TEST(Rolling, AShiftOfTheWholeRowIsAnotherOne) {
  EXPECT_FALSE(rolled_left(row({1, 2, 3, 4, 5}), {0, 5}).values.equal(row({2, 3, 0, 5, 0})));
}

TEST(Rolling, PlacesBeginAgain) {
  EXPECT_TRUE(places_in_sequence({0, 3, 3, 5}).equal(row({0, 1, 2, 0, 1})));
}

void expect_refused(const Offsets& offsets, int64_t tokens, const std::string& what) {
  bridge::expect_error(bridge::Code::kBadInput, what, [&] { check_offsets(offsets, tokens); });
}

TEST(Rolling, OffsetsThatAreRefused) {
  check_offsets({0, 0, 3, 5}, 5);
  expect_refused({}, 5, "begin with 0");
  expect_refused({0}, 0, "begin with 0");
  expect_refused({1, 5}, 5, "begin with 0");
  expect_refused({0, 3, 2, 5}, 5, "sequence 1 begins at 3 and ends at 2");
  expect_refused({0, 3}, 5, "sequence 0 ends at 3, but there are 5 tokens");
  expect_refused({0, 3, 6}, 5, "sequence 1 ends at 6, but there are 5 tokens");
}

TEST(ContextParallel, TwoRanksByHand) {
  // Chunks [11, 12], [13, 14], [15, 16], [17, 18]: rank 0 has the outer two, rank 1 the inner two.
  const ContextLayout layout({0, 8}, 2);
  const at::Tensor whole = row({11, 12, 13, 14, 15, 16, 17, 18});
  const std::vector<at::Tensor> shares = {layout.share(whole, 0), layout.share(whole, 1)};
  EXPECT_TRUE(shares[0].equal(row({11, 12, 17, 18})));
  EXPECT_TRUE(shares[1].equal(row({13, 14, 15, 16})));
  EXPECT_TRUE(layout.whole(shares).equal(whole));
  const std::vector<Rolled> rolled = rolled_shares(layout, shares);
  EXPECT_TRUE(rolled[0].values.equal(row({12, 13, 18, 0})));
  EXPECT_TRUE(rolled[1].values.equal(row({14, 15, 16, 17})));
  EXPECT_EQ(number(rolled[0].sum), 43);
  EXPECT_EQ(number(rolled[1].sum), 62);
}

// Four ranks and chunks of one token: all four rules, each by itself.
TEST(ContextParallel, FourRanksByHand) {
  const ContextLayout layout({0, 8}, 4);
  std::vector<at::Tensor> shares;
  for (int64_t rank = 0; rank < 4; ++rank) {
    shares.push_back(layout.share(row({1, 2, 3, 4, 5, 6, 7, 8}), rank));
  }
  const std::vector<Rolled> rolled = rolled_shares(layout, shares);
  EXPECT_TRUE(rolled[0].values.equal(row({2, 0})));  // of 1 and 8
  EXPECT_TRUE(rolled[1].values.equal(row({3, 8})));  // of 2 and 7
  EXPECT_TRUE(rolled[2].values.equal(row({4, 7})));  // of 3 and 6
  EXPECT_TRUE(rolled[3].values.equal(row({5, 6})));  // of 4 and 5
}

// Lengths of the recorded runs of Megatron-Core with 1, 2 and 4 processes, and two depths.
TEST(ContextParallel, GluedSharesAreTheShiftOfTheWhole) {
  const std::vector<Offsets> rows = {{0, 8, 24, 32}, {0, 8, 8, 32}, {0, 16}, {0, 0, 8}};
  for (const Offsets& offsets : rows) {
    const at::Tensor first = at::arange(11, 11 + offsets.back(), at::kLong);
    const at::Tensor both = at::stack({first, first * 3});  // a leading axis
    for (const int64_t ranks : {1, 2, 4}) {
      const ContextLayout layout(offsets, ranks);
      std::vector<at::Tensor> shares;
      for (int64_t rank = 0; rank < ranks; ++rank) shares.push_back(layout.share(both, rank));
      at::Tensor whole = both;
      for (int depth = 0; depth < 2; ++depth) {
        const Rolled expected = rolled_left(whole, offsets);
        const std::vector<Rolled> rolled = rolled_shares(layout, shares);
        int64_t sum = 0;
        shares.clear();
        for (const Rolled& part : rolled) {
          shares.push_back(part.values);
          sum += number(part.sum);
        }
        EXPECT_TRUE(layout.whole(shares).equal(expected.values)) << ranks << " ranks";
        EXPECT_EQ(sum, number(expected.sum)) << ranks << " ranks";
        whole = expected.values;
      }
    }
  }
}

TEST(ContextParallel, LengthsThatCannotBeCut) {
  ContextLayout({0, 3, 4, 4}, 1);  // one rank cuts nothing
  bridge::expect_error(bridge::Code::kBadInput, "sequence 1 has 6 tokens", [&] {
    ContextLayout({0, 8, 14, 24}, 2);
  });
}

TEST(ContextParallel, AMessageThatNobodySent) {
  InProcessExchange exchange;
  exchange.send(1, 0, row({1}));
  EXPECT_EQ(number(exchange.receive(1, 0)), 1);
  EXPECT_THROW(exchange.receive(1, 0), bridge::Error);
}

}  // namespace
}  // namespace models
