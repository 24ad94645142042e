// Recomputation: a step that computes parts twice is the step that keeps them, and keeps less.
#include "models/forward/recompute.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "tests/models/train/made_step.h"
#include "tests/refusal.h"

namespace models {
namespace {

bridge::Code code_of(const std::string& text) {
  try {
    parse_recompute(text);
  } catch (const bridge::Error& error) {
    EXPECT_NE(error.message().find("--recompute"), std::string::npos) << error.message();
    return error.code();
  }
  ADD_FAILURE() << text << " was taken";
  return bridge::Code::kInternal;
}

TEST(ParseRecompute, Modes) {
  using Method = Recompute::Method;
  EXPECT_EQ(parse_recompute("none").method, Method::kNone);
  EXPECT_EQ(parse_recompute("full").method, Method::kUniform);
  EXPECT_EQ(parse_recompute("full").layers, 1);
  EXPECT_EQ(parse_recompute("full:3").layers, 3);
  EXPECT_EQ(parse_recompute("block:2").method, Method::kBlock);
  EXPECT_EQ(parse_recompute("block:2").layers, 2);
  EXPECT_TRUE(parse_recompute("selective").parts.core_attention);
  const RecomputedParts parts = parse_recompute("selective:moe,mlp").parts;
  EXPECT_TRUE(parts.experts && parts.mlp);
  EXPECT_FALSE(parts.core_attention || parts.shared_experts);
}

TEST(ParseRecompute, OtherTexts) {
  for (const char* text : {"", "full:0", "full:-1", "full:x", "full:", "block", "block:1x",
                           "none:1", "selective:", "selective:mlp,", "selective:attn", "uniform"}) {
    EXPECT_EQ(code_of(text), bridge::Code::kUsage) << text;
  }
  for (const char* text :
       {"selective:layernorm", "selective:mlp,mla_up_proj", "selective:moe_act"}) {
    EXPECT_EQ(code_of(text), bridge::Code::kUnsupported) << text;
  }
}

TEST(ChunksOf, UniformHasAShorterLastOne) {
  const std::vector<LayerChunk> chunks = chunks_of(parse_recompute("full:2"), 0, 5);
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(chunks[1].begin, 2);
  EXPECT_EQ(chunks[1].end, 4);
  EXPECT_EQ(chunks[2].end, 5);
  for (const LayerChunk& chunk : chunks) EXPECT_TRUE(chunk.again);
}

TEST(ChunksOf, BlockHasTheFirstOnes) {
  const std::vector<LayerChunk> chunks = chunks_of(parse_recompute("block:2"), 0, 4);
  ASSERT_EQ(chunks.size(), 4U);
  EXPECT_TRUE(chunks[0].again && chunks[1].again);
  EXPECT_FALSE(chunks[2].again || chunks[3].again);
}

// A packed row with padding, and losses of routers, which leave the padding out.
Batch padded_batch(const ModelConfig& config) {
  Batch batch = made_batch(config, {0, 9, 10, 10, 22});
  batch.left_out = at::zeros({1, 22}, at::kBool);
  batch.left_out.narrow(1, 17, 5).fill_(true);
  return batch;
}

StepOptions options_of(const std::string& recompute) {
  StepOptions options;
  options.mtp_loss_scale = 0.4;
  options.router_loss = TrainingSettings{{}, "seq_aux_loss", 0.5};
  options.recompute = parse_recompute(recompute);
  return options;
}

void expect_same(const MadeStep& recomputed, const MadeStep& kept, const std::string& mode) {
  EXPECT_EQ(recomputed.result.losses.main.sum, kept.result.losses.main.sum) << mode;
  ASSERT_EQ(recomputed.result.losses.mtp.size(), kept.result.losses.mtp.size());
  for (size_t depth = 0; depth < kept.result.losses.mtp.size(); ++depth) {
    EXPECT_EQ(recomputed.result.losses.mtp[depth].sum, kept.result.losses.mtp[depth].sum) << mode;
  }
  EXPECT_EQ(recomputed.result.router_loss, kept.result.router_loss) << mode;
  ASSERT_EQ(recomputed.gradients.size(), kept.gradients.size()) << mode;
  for (const auto& [name, gradient] : kept.gradients) {
    EXPECT_TRUE(recomputed.gradients.at(name).equal(gradient)) << mode << ": " << name;
  }
}

ModelConfig config_with_streams() {
  ModelConfig config = mixed_config();
  config.hyper.streams = 2;
  config.hyper.steps = 3;
  config.hyper.eps = 1e-6;
  return config;
}

// Bit for bit: what uses an argument of a part beside it (the head of a depth's hidden state, the
// gate of shared experts) has its gradient added in one place of the sum.
TEST(Recompute, EveryModeIsTheStepThatKeeps) {
  for (const ModelConfig& config :
       {mixed_config(), config_with_streams(), config_with_gated_experts()}) {
    const Batch batch = padded_batch(config);
    const MadeStep kept = made_step(config, batch, options_of("none"));
    for (const char* mode :
         {"full", "block:1", "block:3", "selective", "selective:mlp", "selective:moe",
          "selective:shared_experts", "selective:core_attn,mlp,moe,shared_experts"}) {
      expect_same(made_step(config, batch, options_of(mode)), kept, mode);
    }
  }
}

// The padding mask arrives in recomputed layers and depths: losses of routers without it are
// others, and so are the gradients of the router of a depth.
TEST(Recompute, ThePaddingMaskArrives) {
  const ModelConfig config = mixed_config();
  const Batch batch = padded_batch(config);
  Batch lost = batch;
  lost.left_out.reset();
  const MadeStep kept = made_step(config, batch, options_of("none"));
  for (const char* mode : {"full", "block:4"}) {
    const MadeStep without = made_step(config, lost, options_of(mode));
    EXPECT_EQ(without.result.losses.main.sum, kept.result.losses.main.sum);
    EXPECT_GT(part_that_differs(without.gradients.at("mtp.0.layer.router"),
                                kept.gradients.at("mtp.0.layer.router")),
              1e-3)
        << mode;
    EXPECT_GT(part_that_differs(without.gradients.at("layers.1.router"),
                                kept.gradients.at("layers.1.router")),
              1e-3)
        << mode;
    expect_same(made_step(config, batch, options_of(mode)), kept, mode);
  }
}

TEST(Recompute, KeepsLess) {
  const ModelConfig config = mixed_config();
  const Batch batch = made_batch(config, {0, 40});
  const auto peak = [&](const char* mode) {
    return made_step(config, batch, options_of(mode)).result.peak_activation_bytes;
  };
  const int64_t none = peak("none");
  const int64_t block = peak("block:3");
  EXPECT_GT(none, 0);
  EXPECT_LT(block, none);
  EXPECT_LE(peak("full"), block);  // the largest layer, run again, is among the first three
  EXPECT_LT(peak("selective:moe"), none);
}

TEST(Recompute, SeveralLayersAtOnce) {
  ModelConfig config = mixed_config();
  const Batch batch = padded_batch(config);
  bridge::expect_error(bridge::Code::kUsage, "multi-token prediction",
                       [&] { made_step(config, batch, options_of("full:2")); });
  config.mtp.clear();
  const MadeStep kept = made_step(config, batch, options_of("none"));
  for (const char* mode : {"full:2", "full:3", "full:9"}) {
    expect_same(made_step(config, batch, options_of(mode)), kept, mode);
  }
}

}  // namespace
}  // namespace models
