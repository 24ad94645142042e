#include "models/compare/device_memory.h"

#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "models/compare/paired_weights.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

// Two layers of experts of the size of DeepSeek-V3's: latent attention, 256 experts.
ModelConfig large() {
  LatentAttention latent;
  latent.heads = 128;
  latent.q_rank = 1536;
  latent.kv_rank = 512;
  latent.nope_dim = 128;
  latent.rope_dim = 64;
  latent.v_dim = 128;
  latent.rotary.channels = 64;
  DenseMlp dense;
  dense.width = 18432;
  MixtureOfExperts experts;
  experts.router.experts = 256;
  experts.router.chosen = 8;
  experts.width = 2048;
  experts.shared_width = 2048;
  ModelConfig config;
  config.hidden = 7168;
  config.vocab = 129280;
  config.layers = {{latent, dense}, {latent, experts}};
  return config;
}

std::string refusal(const DeviceNeed& need, int64_t free, const std::optional<int64_t>& cap,
                    bridge::Code code) {
  try {
    copies_ahead(need, free, cap);
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.message() + "; " + error.hint();
  }
  return "";
}

TEST(DeviceMemory, LargeLinearsCountByTheirBlocks) {
  const DeviceNeed need = device_need(large(), 1, 32);
  // 16 Mi elements of each side, in FP8, BF16 and fp32, one more in fp32 that is under way, and
  // what is kept for the other side.
  EXPECT_LE(need.weights, (2 * 7 + 4) * 16 * kMiB + PairedWeights::kMostKept);
  EXPECT_GT(need.weights, 2 * 7 * 15 * kMiB);
  EXPECT_LT(need.all(), 2 * kGiB);
}

// Linear in the tokens, but for the scores of a block, which are bounded.
TEST(DeviceMemory, StatesGrowWithTheTokens) {
  const int64_t some = device_need(large(), 1, 4096).states;
  const int64_t more = device_need(large(), 1, 8192).states;
  EXPECT_GT(more, some * 3 / 2);
  EXPECT_LE(more, 2 * some);
  // Dense: 7168 + 1536, 1536 + 24576, 7168 + 576, 512 + 32768, 16384 + 7168, 3 (7168 + 18432).
  constexpr int64_t kWidths = 8704 + 26112 + 7744 + 33280 + 23552 + 3 * 25600;
  EXPECT_GE(some, 2 * 4 * 4096 * (2 * kWidths + 8 * 7168));
  EXPECT_EQ(device_need(large(), 4, 1024).weights, device_need(large(), 1, 4096).weights);
}

TEST(DeviceMemory, OfSomeLayers) {
  const DeviceNeed all = device_need(large(), 1, 4096);
  const DeviceNeed experts = device_need(large(), 1, 4096, LayerRange{1, 2});
  EXPECT_LT(experts.states, all.states);  // an expert is narrower than the dense layer's MLP
  EXPECT_EQ(experts.heads, 0);
  EXPECT_GT(all.heads, 2 * 16 * kMiB);
}

TEST(DeviceMemory, OfEveryKindOfLayer) {
  const ModelConfig mixed = mixed_config();
  const DeviceNeed need = device_need(mixed, 2, 100);
  EXPECT_GT(need.states, 0);
  ModelConfig streams = mixed;
  streams.hyper.streams = 4;
  EXPECT_GT(device_need(streams, 2, 100).states, need.states);
  for (size_t layer = 0; layer < mixed.layers.size(); ++layer) {
    ModelConfig one = mixed;
    one.layers = {mixed.layers[layer]};
    one.mtp.clear();
    const DeviceNeed of_one = device_need(one, 2, 100);
    EXPECT_GT(of_one.states, 0);
    EXPECT_LE(of_one.states, need.states);
  }
}

TEST(DeviceMemory, WhatIsLeftIsForCopies) {
  const DeviceNeed need{300 * kMiB, 100 * kMiB, 400 * kMiB};
  EXPECT_EQ(need.all(), (1000 + 192) * kMiB);
  EXPECT_EQ(copies_ahead(need, need.all(), {}), 0);
  EXPECT_EQ(copies_ahead(need, need.all() + 10, {}), 10);
  EXPECT_EQ(copies_ahead(need, 80 * kGiB, {}), kMostCopiesAhead);
  EXPECT_EQ(copies_ahead(need, 80 * kGiB, need.all() + 7), 7);
  // A cap above what is free gives no more than that.
  EXPECT_EQ(copies_ahead(need, need.all() + 5, 80 * kGiB), 5);
}

TEST(DeviceMemory, TooLittleIsOneLineWithTheSize) {
  const DeviceNeed need{300 * kMiB, 100 * kMiB, 400 * kMiB};
  EXPECT_EQ(refusal(need, 80 * kGiB, need.all() - 1, bridge::Code::kUsage),
            "--device-memory 1.2GiB is too small: weights take 300MiB, the states of the prompt "
            "100MiB, heads 400MiB; use --device-memory 1193MiB or more, or a shorter prompt");
  EXPECT_EQ(refusal(need, 80 * kGiB, 1193 * kMiB, bridge::Code::kUsage), "");
  EXPECT_EQ(refusal(need, kGiB, {}, bridge::Code::kIo),
            "out of memory on the GPU: 1GiB are free, 1.2GiB are needed: weights take 300MiB, the "
            "states of the prompt 100MiB, heads 400MiB; a shorter prompt needs less, and --device "
            "cpu none of it");
}

// A configuration of a hostile file: nothing overflows.
TEST(DeviceMemory, HugeSizes) {
  ModelConfig huge = large();
  huge.hidden = int64_t{1} << 40;
  const DeviceNeed need = device_need(huge, 1 << 10, 1 << 10);
  EXPECT_GT(need.all(), int64_t{1} << 59);
}

}  // namespace
}  // namespace models
