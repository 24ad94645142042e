// Passes that several processes share, in this one: each takes over the states of the one before.
// What they find together is what one pass finds, bit for bit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "models/compare/forward_comparison.h"
#include "models/forward/prompt.h"
#include "models/forward/seeded_state.h"
#include "models/verify/shares.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

constexpr uint64_t kSeed = 5;

class LayerInputsTest : public testing::Test {
 protected:
  LayerInputsTest() {
    other_.added["layers.1.router"] = at::full({5, 10}, 0.5);
    other_.added["mtp.1.layer.o"] = at::full({10, 24}, 0.5);
  }

  ForwardVerdict whole(const Compute& compute = {}, std::optional<uint64_t> seed = {}) {
    PairedWeights pair(made_, other_);
    return compare_forward(pair, compute, ids_, {}, {.seed = seed});
  }

  // What `count` processes find together.
  ForwardVerdict shared(int count, const Compute& compute = {}, std::optional<uint64_t> seed = {}) {
    ForwardVerdict all;
    LayerStates between;
    for (int rank = 0; rank < count; ++rank) {
      const LayerRange share = share_of(made_.config(), other_.config(), {}, rank, count);
      LayerInputs inputs;
      inputs.seed = seed;
      if (rank > 0) inputs.receive = [&] { return seed ? LayerStates() : between; };
      if (rank + 1 < count) inputs.send = [&](const LayerStates& states) { between = states; };
      PairedWeights pair(made_, other_, share);
      const ForwardVerdict found = compare_forward(pair, compute, ids_, share, inputs);
      all.states.insert(all.states.end(), found.states.begin(), found.states.end());
      all.heads.insert(all.heads.end(), found.heads.begin(), found.heads.end());
      if (rank == 0) all.coverage.embedding_rows = found.coverage.embedding_rows;
      all.coverage.experts.insert(all.coverage.experts.end(), found.coverage.experts.begin(),
                                  found.coverage.experts.end());
    }
    return all;
  }

  MadeWeights made_{mixed_config()};
  MadeWeights other_{mixed_config()};
  const at::Tensor ids_ = seeded_prompt(made_.config().vocab, 11, 3);
};

void expect_same(const StateDifference& a, const StateDifference& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.identical, b.identical) << a.name;
  EXPECT_EQ(a.largest, b.largest) << a.name;
  EXPECT_EQ(a.mean, b.mean) << a.name;
  EXPECT_EQ(a.judged, b.judged) << a.name;
  EXPECT_EQ(a.allowed, b.allowed) << a.name;
}

void expect_same(const ForwardVerdict& a, const ForwardVerdict& b) {
  ASSERT_EQ(a.states.size(), b.states.size());
  for (size_t i = 0; i < a.states.size(); ++i) expect_same(a.states[i], b.states[i]);
  ASSERT_EQ(a.heads.size(), b.heads.size());
  for (size_t i = 0; i < a.heads.size(); ++i) {
    expect_same(a.heads[i], b.heads[i]);
    EXPECT_EQ(a.heads[i].divergence, b.heads[i].divergence);
    EXPECT_EQ(a.heads[i].top1, b.heads[i].top1);
    EXPECT_EQ(a.heads[i].top5, b.heads[i].top5);
  }
  EXPECT_EQ(a.coverage.embedding_rows, b.coverage.embedding_rows);
  ASSERT_EQ(a.coverage.experts.size(), b.coverage.experts.size());
  for (size_t i = 0; i < a.coverage.experts.size(); ++i) {
    EXPECT_EQ(a.coverage.experts[i].layer, b.coverage.experts[i].layer);
    EXPECT_EQ(a.coverage.experts[i].routed, b.coverage.experts[i].routed);
  }
}

std::vector<std::string> different(const ForwardVerdict& verdict) {
  std::vector<std::string> names;
  for (const StateDifference& state : verdict.states) {
    if (!state.identical) names.push_back(state.name);
  }
  return names;
}

TEST_F(LayerInputsTest, SharesFindWhatOnePassFinds) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const ForwardVerdict expected = whole({.dtype = type});
    EXPECT_EQ(different(expected).front(), "hidden.1");
    for (const int count : {2, 3, 4, 6}) {
      SCOPED_TRACE(count);
      expect_same(shared(count, {.dtype = type}), expected);
    }
  }
}

TEST_F(LayerInputsTest, MadeInputsKeepDifferencesInTheirLayer) {
  const ForwardVerdict expected = whole({}, kSeed);
  EXPECT_TRUE(expected.layer_by_layer);
  EXPECT_EQ(different(expected), (std::vector<std::string>{"hidden.1", "mtp_hidden.1"}));
  for (const int count : {2, 3, 4, 6}) {
    SCOPED_TRACE(count);
    expect_same(shared(count, {}, kSeed), expected);
  }
}

TEST_F(LayerInputsTest, TheCallerIsAskedAfterEachLayer) {
  int asked = 0;
  LayerInputs inputs;
  inputs.check = [&] { ++asked; };
  PairedWeights pair(made_, other_, LayerRange{1, 3});
  compare_forward(pair, {}, ids_, LayerRange{1, 3}, inputs);
  EXPECT_EQ(asked, 3) << "the embedding and two layers";
}

TEST(SeededInput, IsUniformAndDependsOnSeedAndLayer) {
  ModelConfig config = mixed_config();
  config.hyper.streams = 4;
  const at::Tensor ids = seeded_prompt(config.vocab, 500, 1);
  const auto input = seeded_input(config, {}, ids, kSeed);
  const at::Tensor state = input(3);
  EXPECT_EQ(state.sizes().vec(), (std::vector<int64_t>{1, 500, 4, 10}));
  EXPECT_TRUE(state.equal(input(3)));
  EXPECT_FALSE(state.equal(input(4)));
  EXPECT_FALSE(state.equal(seeded_input(config, {}, ids, kSeed + 1)(3)));
  EXPECT_GE(state.min().item().toDouble(), -1);
  EXPECT_LT(state.max().item().toDouble(), 1);
  EXPECT_NEAR(state.mean().item().toDouble(), 0, 0.02);  // five deviations of a mean of 20,000
  EXPECT_NEAR(state.pow(2).mean().item().toDouble(), 1.0 / 3, 0.02);
}

}  // namespace
}  // namespace models
