// How layers are divided among processes, and that the shares of all are the whole.
#include "models/verify/shares.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "models/model/tensor_id.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

using Blocks = std::vector<std::pair<int64_t, int64_t>>;

Blocks divided(const std::vector<int64_t>& weights, int count, int64_t before = 0,
               int64_t after = 0, int64_t first = 0) {
  Blocks blocks;
  for (const LayerRange& block : divide_layers(weights, first, before, after, count)) {
    blocks.emplace_back(block.begin, block.end);
  }
  return blocks;
}

TEST(Shares, LayersAreDividedByTheirWeights) {
  EXPECT_EQ(divided({1, 1, 1, 1}, 1), (Blocks{{0, 4}}));
  EXPECT_EQ(divided({1, 1, 1, 1}, 2), (Blocks{{0, 2}, {2, 4}}));
  EXPECT_EQ(divided({1, 1, 1, 1, 1, 1}, 3), (Blocks{{0, 2}, {2, 4}, {4, 6}}));
  EXPECT_EQ(divided({6, 1, 1, 1, 1, 2}, 2), (Blocks{{0, 1}, {1, 6}}));
  EXPECT_EQ(divided({1, 1, 1, 1}, 2, 0, 0, 7), (Blocks{{7, 9}, {9, 11}}));
}

TEST(Shares, WhatLiesBeforeAndAfterCounts) {
  EXPECT_EQ(divided({1, 1, 1, 1}, 2, 2, 0), (Blocks{{0, 1}, {1, 4}}));
  EXPECT_EQ(divided({1, 1, 1, 1}, 2, 0, 2), (Blocks{{0, 3}, {3, 4}}));
  EXPECT_EQ(divided({1, 1, 1, 1}, 2, 100, 0), (Blocks{{0, 1}, {1, 4}}));
  EXPECT_EQ(divided({1, 1, 1, 1}, 2, 0, 100), (Blocks{{0, 3}, {3, 4}}));
}

TEST(Shares, ProcessesWithoutLayersAreTheLastOnes) {
  EXPECT_EQ(divided({5, 1}, 4), (Blocks{{0, 1}, {1, 2}, {2, 2}, {2, 2}}));
  EXPECT_EQ(divided({}, 2), (Blocks{{0, 0}, {0, 0}}));
}

TEST(Shares, BlocksFollowEachOtherWhateverTheWeights) {
  std::vector<int64_t> weights;
  uint64_t number = 1;
  for (int layers = 0; layers < 40; ++layers) {
    for (int count = 1; count < 9; ++count) {
      int64_t next = 0;
      for (const auto& [begin, end] : divided(weights, count, layers % 3 * 10, layers % 5 * 10)) {
        EXPECT_EQ(begin, next);
        EXPECT_LE(begin, end);
        EXPECT_TRUE(begin == layers || begin < end);
        next = end;
      }
      EXPECT_EQ(next, layers);
    }
    number = number * 48271 % 2147483647;
    weights.push_back(static_cast<int64_t>(number % 20));
  }
}

TEST(Shares, EveryTensorIsInOneShare) {
  ModelConfig config = mixed_config();
  for (const bool tied : {false, true}) {
    config.tied = tied;
    for (int count = 2; count < 7; ++count) {
      std::map<std::string, int> owners;
      for (int rank = 0; rank < count; ++rank) {
        const LayerRange share = share_of(config, config, {}, rank, count);
        EXPECT_EQ(share.has_rest, rank == 0);
        for_each_tensor(config, [&](const TensorId& id, const bridge::Shape&) {
          if (share.contains(id)) ++owners[to_string(id)];
        });
      }
      for_each_tensor(config, [&](const TensorId& id, const bridge::Shape&) {
        EXPECT_EQ(owners[to_string(id)], 1) << to_string(id);
      });
    }
  }
}

TEST(Shares, OfSomeLayersHaveNothingElse) {
  const ModelConfig config = mixed_config();
  const LayerRange first = share_of(config, config, LayerRange{1, 3}, 0, 2);
  const LayerRange second = share_of(config, config, LayerRange{1, 3}, 1, 2);
  EXPECT_EQ(first.begin, 1);
  EXPECT_EQ(first.end, 2);
  EXPECT_EQ(second.begin, 2);
  EXPECT_EQ(second.end, 3);
  for (const LayerRange& share : {first, second}) {
    EXPECT_FALSE(share.has_embedding || share.has_heads || share.has_rest);
  }
}

// Layers that only one side has are somebody's, who lists them.
TEST(Shares, LayersOfEitherSideAreInAShare) {
  const ModelConfig longer = mixed_config();
  ModelConfig shorter = longer;
  shorter.layers.resize(2);
  EXPECT_EQ(share_of(shorter, longer, {}, 1, 2).end, 4);
  EXPECT_EQ(share_of(longer, shorter, {}, 1, 2).end, 4);
}

}  // namespace
}  // namespace models
