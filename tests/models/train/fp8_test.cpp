// Emulated FP8: rounding, scales and three steps of delayed scaling against numbers computed by
// hand; and recomputation, which must round as the first run did. There is no other implementation
// on a CPU.
#include "models/train/fp8.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/train/fp8_linears.h"
#include "tests/models/train/made_step.h"
#include "tests/refusal.h"

namespace models {
namespace {

using Region = LinearRule::Region;

at::Tensor row(const std::vector<float>& numbers) {
  return at::tensor(at::ArrayRef<float>(numbers)).unsqueeze(0);
}

void expect_numbers(const at::Tensor& found, const std::vector<float>& expected) {
  EXPECT_TRUE(found.equal(row(expected).view(found.sizes()))) << found.toString();
  const at::Tensor flat = found.flatten();
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(flat.select(0, static_cast<int64_t>(i)).item<float>(), expected[i]) << i;
  }
}

// e4m3 has steps of 1/8 of the power of two below, and of 2^-9 below 2^-6; e5m2 of 1/4.
TEST(Fp8, Rounding) {
  const at::Tensor x = row({1, 0.3F, -500, 0.001F, 500});
  expect_numbers(rounded_to_fp8(x, Fp8Format::kE4M3, 1), {1, 0.3125F, -448, 0.001953125F, 448});
  expect_numbers(rounded_to_fp8(x, Fp8Format::kE5M2, 1), {1, 0.3125F, -512, 0.0009765625F, 512});
  // 9/8 and 11/8 of 16 lie between steps of e5m2 and e4m3's half steps: ties go to even.
  expect_numbers(rounded_to_fp8(row({17, 19}), Fp8Format::kE4M3, 1), {16, 20});
  expect_numbers(rounded_to_fp8(row({18, 22}), Fp8Format::kE5M2, 1), {16, 24});
}

TEST(Fp8, Scale) {
  EXPECT_EQ(fp8_scale(3.5F, Fp8Format::kE4M3, 0), 128.0F);
  EXPECT_EQ(fp8_scale(3.5F, Fp8Format::kE4M3, 2), 32.0F);
  EXPECT_EQ(fp8_scale(7, Fp8Format::kE5M2, 0), 8192.0F);
  EXPECT_EQ(fp8_scale(1e-40F, Fp8Format::kE4M3, 0), std::numeric_limits<float>::max());
  for (const float amax : {0.0F, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    EXPECT_FALSE(fp8_scale(amax, Fp8Format::kE4M3, 0)) << amax;
  }
}

// Scale 448 / 7 = 64: 0.064 becomes 2^-4.
TEST(Fp8, OfTheTensorItself) {
  expect_numbers(rounded_to_fp8(row({7, 0.001F}), Fp8Format::kE4M3), {7, 0.0009765625F});
  expect_numbers(rounded_to_fp8(row({0, 0}), Fp8Format::kE4M3), {0, 0});
}

// Blocks of three and of one: 448 / 500 is cut down to 1/2, 448 / 0.001 to 2^18. -250 becomes -256.
TEST(Fp8, ByBlock) {
  const at::Tensor x = row({1, 0.3F, -500, 0.001F});
  expect_numbers(rounded_to_fp8_by_block(x, 1, 3), {1, 0.3125F, -512, 0.0009765625F});
  // Columns instead of rows.
  expect_numbers(rounded_to_fp8_by_block(x.t(), 3, 1), {1, 0.3125F, -512, 0.0009765625F});
  expect_numbers(rounded_to_fp8_by_block(row({0, 0}), 128, 128), {0, 0});
}

// The largest of the last three steps, the present one among them.
TEST(Fp8, History) {
  const Fp8Delay delay{3, true, 0};
  DelayedScale scale(delay);
  const std::vector<std::pair<float, float>> steps = {{3.5F, 128}, {7, 64},  {1, 64},  {1, 64},
                                                      {1, 448},    {0, 448}, {0, 448}, {0, 448}};
  for (const auto& [amax, expected] : steps) {
    scale.rounded(row({amax, 0}), Fp8Format::kE4M3);
    scale.update(delay, Fp8Format::kE4M3);
    EXPECT_EQ(scale.scale(), expected);
    EXPECT_EQ(scale.history().front(), 0);
  }
}

TEST(Fp8, Names) {
  EXPECT_EQ(parse_fp8("delayed"), Fp8Recipe::kDelayed);
  EXPECT_EQ(parse_fp8("current"), Fp8Recipe::kCurrent);
  EXPECT_EQ(parse_fp8("block"), Fp8Recipe::kBlock);
  EXPECT_FALSE(parse_fp8("none"));
}

struct Step {
  std::vector<float> x;
  float gradient;
  float y;
  std::vector<float> of_x;       // gradient8 * weight8
  std::vector<float> of_weight;  // gradient8 * x8
};

// Weight (0.4375, 0.0003), of scale 1 and then 448 / 0.4375 = 1024, by which 0.3072 becomes 10/32.
//   1  x (3.5, 0.001) of scale 1: (3.5, 2^-9). weight (0.4375, 0). gradient 7 of scale 1: 7
//   2  x (7, 0.001) of scale 128: 896 is cut to 448, 0.128 becomes 1/8: (3.5, 2^-10). gradient 14
//   of
//      scale 57344 / 7 = 8192 is cut: 7
//   3  the same of scale 64 and 4096: (7, 2^-10), 14
TEST(Fp8Linears, ThreeStepsOfDelayedScaling) {
  constexpr float kSmall = 0.0009765625F;  // 2^-10
  constexpr float kWeight = 0.00030517578125F;
  const std::vector<Step> steps = {
      {{3.5F, 0.001F}, 7, 1.53125F, {3.0625F, 0}, {24.5F, 7 * 2 * kSmall}},
      {{7, 0.001F}, 14, 1.53125F, {3.0625F, 7 * kWeight}, {24.5F, 7 * kSmall}},
      {{7, 0.001F}, 14, 3.0625F, {6.125F, 14 * kWeight}, {98, 14 * kSmall}},
  };
  Fp8Linears rule(Fp8Recipe::kDelayed);
  for (const Step& step : steps) {
    const at::Tensor x = row(step.x).set_requires_grad(true);
    const at::Tensor weight = row({0.4375F, 0.0003F}).set_requires_grad(true);
    rule.enter(Region::kOuter);
    const at::Tensor y = rule.linear("m", x, weight);
    rule.leave();
    (y * step.gradient).sum().backward();
    rule.end_step();
    EXPECT_NEAR(y.item<float>(), step.y, 1e-6);
    expect_numbers(x.grad(), step.of_x);
    expect_numbers(weight.grad(), step.of_weight);
  }
  EXPECT_EQ(rule.module("m").input.scale(), 64);
  EXPECT_EQ(rule.module("m").weight.scale(), 1024);
  EXPECT_EQ(rule.module("m").gradient.scale(), 4096);
}

TEST(Fp8Linears, OutsideOfRegionsNothingIsRounded) {
  Fp8Linears rule(Fp8Recipe::kCurrent);
  const at::Tensor x = row({7, 0.001F});
  const at::Tensor weight = row({0, 1});
  EXPECT_EQ(rule.linear("m", x, weight).item<float>(), 0.001F);
  const LinearRegion region(&rule, Region::kLayer);
  EXPECT_EQ(rule.linear("m", x, weight).item<float>(), 0.0009765625F);
}

at::Tensor first_run(Fp8Linears& rule, const at::Tensor& x, bool& token) {
  const c10::AutoGradMode records(false);
  token = rule.begin_first();
  const at::Tensor y = rule.linear("m", x, row({0, 1}));
  rule.end_first();
  return y;
}

at::Tensor second_run(Fp8Linears& rule, const at::Tensor& x, bool token) {
  rule.begin_again(token);
  const at::Tensor y = rule.linear("m", x, row({0, 1}));
  rule.end_again(token);
  return y;
}

// Two first runs under the scales 1 and 64: 0.001 becomes 2^-9 and 2^-10. The second runs take what
// each was run with, the oldest first, and the scale that has moved on stays as it is.
TEST(Fp8Linears, SecondRunsRoundAsTheirFirst) {
  const at::Tensor x = row({7, 0.001F});
  Fp8Linears rule(Fp8Recipe::kDelayed);
  bool tokens[2] = {};
  at::Tensor first[2];
  for (const int run : {0, 1}) {
    const LinearRegion region(&rule, Region::kOuter);
    first[run] = first_run(rule, x, tokens[run]);
  }
  EXPECT_EQ(first[0].item<float>(), 0.001953125F);
  EXPECT_EQ(first[1].item<float>(), 0.0009765625F);
  for (const int run : {0, 1}) {
    EXPECT_TRUE(second_run(rule, x, tokens[run]).equal(first[run])) << run;
    EXPECT_EQ(rule.module("m").input.scale(), 64);
    EXPECT_EQ(rule.module("m").input.history().front(), 0);
  }
}

void expect_internal_error(const std::string& text, const std::function<void()>& run) {
  bridge::expect_error(bridge::Code::kInternal, text, [&] { run(); });
}

// Fresh scales would round otherwise than the first run, and without a word; so there are none.
TEST(Fp8Linears, NeverFreshScales) {
  const at::Tensor x = row({7, 0.001F});
  Fp8Linears rule(Fp8Recipe::kDelayed);
  bool token = false;
  at::Tensor first;
  {
    const LinearRegion region(&rule, Region::kOuter);
    first = first_run(rule, x, token);
  }
  {
    const LinearRegion region(&rule, Region::kOuter);
    EXPECT_FALSE(rule.linear("m", x, row({0, 1})).equal(first));  // of the fresh scale
  }
  EXPECT_TRUE(second_run(rule, x, token).equal(first));
  expect_internal_error("recomputation of m", [&] { second_run(rule, x, token); });
}

class WithoutOuterRegion : public Fp8Linears {
 public:
  WithoutOuterRegion() : Fp8Linears(Fp8Recipe::kDelayed) {}
  bool has_outer_region() const override { return false; }
};

class WithOuterRegion : public Fp8Linears {
 public:
  explicit WithOuterRegion(Fp8Recipe recipe) : Fp8Linears(recipe) {}
  bool has_outer_region() const override { return true; }
};

StepOptions options_of(Fp8Linears& rule, const char* recompute) {
  StepOptions options;
  options.mtp_loss_scale = 0.4;
  options.fp8 = &rule;
  options.recompute = parse_recompute(recompute);
  return options;
}

// Without the region around all layers a checkpoint does not know of FP8 when it begins.
TEST(Fp8Linears, OuterRegionMissing) {
  const ModelConfig config = mixed_config();
  const Batch batch = made_batch(config, {0, 12});
  WithoutOuterRegion rule;
  made_step(config, batch, options_of(rule, "none"));
  expect_internal_error("recomputation of mtp.1.projection", [&] {
    WithoutOuterRegion fresh;
    made_step(config, batch, options_of(fresh, "full"));
  });
}

TEST(Fp8Linears, OuterRegionOfOtherRecipes) {
  const ModelConfig config = mixed_config();
  const Batch batch = made_batch(config, {0, 12});
  for (const Fp8Recipe recipe : {Fp8Recipe::kCurrent, Fp8Recipe::kBlock}) {
    WithOuterRegion rule(recipe);
    expect_internal_error("only delayed scaling",
                          [&] { made_step(config, batch, options_of(rule, "none")); });
  }
}

// Three steps of every recipe, recomputed and kept: bit for bit the same, although the scales of
// delayed scaling have moved on when parts are computed again.
TEST(Fp8Linears, RecomputedIsKeptBitForBit) {
  const ModelConfig config = config_with_gated_experts();
  const Batch batch = made_batch(config, {0, 9, 10, 22});
  const double in_fp32 = made_step(config, batch, {0.4, 1}).result.losses.main.sum;
  for (const Fp8Recipe recipe : {Fp8Recipe::kDelayed, Fp8Recipe::kCurrent, Fp8Recipe::kBlock}) {
    for (const char* mode :
         {"full", "block:3", "selective:core_attn,mlp,moe", "selective:shared_experts"}) {
      Fp8Linears of_kept(recipe);
      Fp8Linears of_recomputed(recipe);
      for (int step = 0; step < 3; ++step) {
        const MadeStep kept = made_step(config, batch, options_of(of_kept, "none"));
        const MadeStep recomputed = made_step(config, batch, options_of(of_recomputed, mode));
        EXPECT_NE(kept.result.losses.main.sum, in_fp32);
        EXPECT_EQ(kept.result.losses.main.sum, recomputed.result.losses.main.sum) << mode << step;
        ASSERT_EQ(kept.gradients.size(), recomputed.gradients.size());
        for (const auto& [name, gradient] : kept.gradients) {
          EXPECT_TRUE(recomputed.gradients.at(name).equal(gradient)) << mode << step << " " << name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace models
