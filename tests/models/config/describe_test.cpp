// The description of a configuration: which fields, by which names, in which order.
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/model/config_fields.h"

namespace models {
namespace {

// What all_fields compares the lists with: members of every type that a configuration has, those in
// another's padding too.
struct Members {
  int64_t number;
  bool one, other;
  NormKind kind;
  NormConfig part;
  AttentionConfig variant;
  std::vector<LayerConfig> list;
  std::optional<VisionTower> tower;
};
static_assert(member_count<Members>() == 8);
static_assert(member_count<ModelConfig>() == 12 && member_count<RotaryConfig>() == 12);

std::vector<std::string> lines_of(const ModelConfig& config) {
  std::vector<std::string> lines;
  for (const auto& [name, value] : describe(config)) lines.push_back(name + " " + value);
  return lines;
}

TEST(Describe, EveryFieldInAFixedOrder) {
  ModelConfig config;
  config.hidden = 8;
  config.norm.eps = 1e-6;
  DeltaAttention attention;
  attention.kernel = 4;
  MixtureOfExperts experts;
  experts.router.score = RouterScore::kSqrtSoftplus;
  experts.limit = 2.5;
  config.layers = {{attention, DenseMlp{6, true}}};
  config.mtp = {{attention, experts}};
  config.vision = VisionTower{};
  config.vision->merge = 2;
  EXPECT_EQ(lines_of(config), (std::vector<std::string>{
                                  "hidden 8",
                                  "vocab 0",
                                  "labels 0",
                                  "tied false",
                                  "norm.kind cast, then scale",
                                  "norm.eps 1e-06",
                                  "post_norms false",
                                  "embedding_scale 1",
                                  "logit_cap 0",
                                  "hyper.streams 0",
                                  "hyper.steps 0",
                                  "hyper.eps 0",
                                  "hyper.dialect DeepSeek",
                                  "layers 1",
                                  "mtp 1",
                                  "layers.0.attention.kind linear",
                                  "layers.0.attention.key_heads 0",
                                  "layers.0.attention.value_heads 0",
                                  "layers.0.attention.key_dim 0",
                                  "layers.0.attention.value_dim 0",
                                  "layers.0.attention.kernel 4",
                                  "layers.0.mlp.kind dense",
                                  "layers.0.mlp.width 6",
                                  "layers.0.mlp.bias true",
                                  "layers.0.mlp.activation silu",
                                  "layers.0.mlp.gated true",
                                  "mtp.0.attention.kind linear",
                                  "mtp.0.attention.key_heads 0",
                                  "mtp.0.attention.value_heads 0",
                                  "mtp.0.attention.key_dim 0",
                                  "mtp.0.attention.value_dim 0",
                                  "mtp.0.attention.kernel 4",
                                  "mtp.0.mlp.kind experts",
                                  "mtp.0.mlp.width 0",
                                  "mtp.0.mlp.shared_width 0",
                                  "mtp.0.mlp.shared_gated false",
                                  "mtp.0.mlp.bias false",
                                  "mtp.0.mlp.limit 2.5",
                                  "mtp.0.mlp.gain 1",
                                  "mtp.0.mlp.offset 0",
                                  "mtp.0.mlp.weighted_input false",
                                  "mtp.0.mlp.activation silu",
                                  "mtp.0.mlp.gated true",
                                  "mtp.0.mlp.latent 0",
                                  "mtp.0.mlp.router.score root of softplus",
                                  "mtp.0.mlp.router.experts 0",
                                  "mtp.0.mlp.router.chosen 0",
                                  "mtp.0.mlp.router.groups 1",
                                  "mtp.0.mlp.router.chosen_groups 1",
                                  "mtp.0.mlp.router.ranked_by 0",
                                  "mtp.0.mlp.router.selection_bias false",
                                  "mtp.0.mlp.router.logit_bias false",
                                  "mtp.0.mlp.router.by_token false",
                                  "mtp.0.mlp.router.normalized false",
                                  "mtp.0.mlp.router.factor 1",
                                  "vision.blocks 0",
                                  "vision.width 0",
                                  "vision.heads 0",
                                  "vision.hidden 0",
                                  "vision.channels 0",
                                  "vision.frames 0",
                                  "vision.patch 0",
                                  "vision.places 0",
                                  "vision.merge 2",
                                  "vision.output 0",
                                  "vision.deepstack 0",
                                  "vision.gated false",
                              }));
}

TEST(Describe, AttentionHasItsRotaryEncodingLast) {
  ModelConfig config;
  GroupedAttention attention;
  attention.rotary.layout = RotaryLayout::kPairs;
  attention.rotary.scaling = RotaryScaling::kYarn;
  config.layers = {{attention, DenseMlp{}}};
  const std::vector<std::string> lines = lines_of(config);
  const std::vector<std::string> expected = {
      "layers.0.attention.kind grouped",
      "layers.0.attention.heads 0",
      "layers.0.attention.kv_heads 0",
      "layers.0.attention.head_dim 0",
      "layers.0.attention.qkv_bias false",
      "layers.0.attention.output_bias false",
      "layers.0.attention.qk_norm false",
      "layers.0.attention.whole_qk_norm false",
      "layers.0.attention.unit_qk false",
      "layers.0.attention.gated false",
      "layers.0.attention.sinks false",
      "layers.0.attention.window 0",
      "layers.0.attention.chunk 0",
      "layers.0.attention.sharpening 0",
      "layers.0.attention.sharpened_from 0",
      "layers.0.attention.scale 0",
      "layers.0.attention.cap 0",
      "layers.0.attention.rotary.channels 0",
      "layers.0.attention.rotary.layout pairs",
      "layers.0.attention.rotary.base 0",
      "layers.0.attention.rotary.scaling yarn",
      "layers.0.attention.rotary.factor 1",
      "layers.0.attention.rotary.original_positions 0",
      "layers.0.attention.rotary.low_freq_factor 0",
      "layers.0.attention.rotary.high_freq_factor 0",
      "layers.0.attention.rotary.beta_fast 0",
      "layers.0.attention.rotary.beta_slow 0",
      "layers.0.attention.rotary.round_range false",
      "layers.0.attention.rotary.magnitude 1",
      "layers.0.mlp.kind dense",
      "layers.0.mlp.width 0",
      "layers.0.mlp.bias false",
      "layers.0.mlp.activation silu",
      "layers.0.mlp.gated true",
  };
  ASSERT_EQ(lines.size(), 15 + expected.size());
  EXPECT_EQ(std::vector<std::string>(lines.begin() + 15, lines.end()), expected);
}

// A layer that is one of the two says so of the other.
TEST(Describe, LayersOfOnePart) {
  ModelConfig config;
  Mamba2 mixer;
  mixer.least_step = 0.001;
  config.layers = {{mixer, NoMlp()}, {NoAttention(), DenseMlp{6}}};
  const std::vector<std::string> lines = lines_of(config);
  const std::vector<std::string> expected = {
      "layers.0.attention.kind Mamba-2", "layers.0.attention.heads 0",
      "layers.0.attention.head_dim 0",   "layers.0.attention.groups 0",
      "layers.0.attention.state 0",      "layers.0.attention.kernel 0",
      "layers.0.attention.eps 0",        "layers.0.attention.least_step 0.001",
      "layers.0.mlp.kind none",          "layers.1.attention.kind none",
      "layers.1.mlp.kind dense",         "layers.1.mlp.width 6",
  };
  ASSERT_GT(lines.size(), 15 + expected.size());
  EXPECT_EQ(std::vector<std::string>(lines.begin() + 15, lines.begin() + 15 + std::ssize(expected)),
            expected);
}

}  // namespace
}  // namespace models
