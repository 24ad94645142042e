// Tests parts of the forward pass against transformers: data/forward_parts (made by
// make_expected.py there).
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/norm.h"
#include "models/forward/rotary.h"
#include "models/forward/router.h"
#include "tests/models/expected.h"

namespace models {
namespace {

at::Tensor transformers_says(const std::string& name) {
  return expected_tensor("forward_parts/expected.safetensors", name);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  EXPECT_EQ(a.scalar_type(), b.scalar_type());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item().toDouble();
}

RotaryConfig plain_rotary() {
  RotaryConfig rotary;
  rotary.channels = 16;
  rotary.base = 10000;
  return rotary;
}

RotaryConfig yarn_rotary(double beta_fast, double beta_slow, bool round_range) {
  RotaryConfig rotary = plain_rotary();
  rotary.scaling = RotaryScaling::kYarn;
  rotary.factor = 4;
  rotary.original_positions = 64;
  rotary.beta_fast = beta_fast;
  rotary.beta_slow = beta_slow;
  rotary.round_range = round_range;
  return rotary;
}

void expect_frequencies(const std::string& name, const RotaryConfig& rotary) {
  const at::Tensor expected = transformers_says("rope." + name + ".frequencies");
  const at::Tensor relative = rotary_frequencies(rotary) / expected - 1;
  EXPECT_LT(relative.abs().max().item().toDouble(), 3e-7) << name;
}

TEST(Rotary, Frequencies) {
  expect_frequencies("default", plain_rotary());
  RotaryConfig linear = plain_rotary();
  linear.base = 50000;
  linear.scaling = RotaryScaling::kLinear;
  linear.factor = 2.5;
  expect_frequencies("linear", linear);
  RotaryConfig llama3 = plain_rotary();
  llama3.scaling = RotaryScaling::kLlama3;
  llama3.factor = 8;
  llama3.low_freq_factor = 1;
  llama3.high_freq_factor = 4;
  llama3.original_positions = 128;
  expect_frequencies("llama3", llama3);
  expect_frequencies("yarn", yarn_rotary(32, 1, true));
  expect_frequencies("yarn_mscales", yarn_rotary(8, 2, true));
  expect_frequencies("yarn_unrounded", yarn_rotary(32, 1, false));
  expect_frequencies("yarn_narrow", yarn_rotary(4, 4, false));
}

TEST(Rotary, Turn) {
  const at::Tensor x = transformers_says("turn.x");
  const auto turned = [&](int64_t channels, RotaryLayout layout) {
    RotaryConfig rotary = plain_rotary();
    rotary.channels = channels;
    rotary.layout = layout;
    return rotate(x, rotary, rotary_table(rotary, x.size(-2), x.options()));
  };
  EXPECT_LT(largest_difference(turned(16, RotaryLayout::kHalves), transformers_says("turn.halves")),
            1e-6);
  EXPECT_LT(largest_difference(turned(16, RotaryLayout::kPairs), transformers_says("turn.pairs")),
            1e-6);
  EXPECT_LT(largest_difference(turned(8, RotaryLayout::kHalves), transformers_says("turn.partial")),
            1e-6);
}

// Only cosine and sine carry the magnitude, and both do.
TEST(Rotary, Magnitude) {
  RotaryConfig rotary = plain_rotary();
  const RotaryTable plain = rotary_table(rotary, 5, at::kFloat);
  rotary.magnitude = 2;
  const RotaryTable doubled = rotary_table(rotary, 5, at::kFloat);
  EXPECT_EQ(largest_difference(doubled.cos, plain.cos * 2), 0);
  EXPECT_EQ(largest_difference(doubled.sin, plain.sin * 2), 0);
}

// Every pair turns as it would if its position were that of the whole token.
TEST(Rotary, ThreePositionsOfAToken) {
  RotaryConfig rotary = plain_rotary();
  rotary.channels = 12;
  const at::Tensor time = at::arange(5, at::kLong);
  const at::Tensor positions = at::stack({time, time + 3, time * time});
  const std::vector<int64_t> expected = {0, 1, 2, 0, 1, 0};
  const RotarySections sections = rotary_sections({3, 2, 1}, /*interleaved=*/true).value();
  const RotaryTable table =
      rotary_table_at(rotary, positions_of_pairs(positions, sections, 6), at::kFloat);
  for (int64_t pair = 0; pair < 6; ++pair) {
    const at::Tensor own = positions.select(0, expected[static_cast<size_t>(pair)]);
    const RotaryTable plain = rotary_table_at(rotary, own, at::kFloat);
    EXPECT_TRUE(table.cos.select(1, pair).equal(plain.cos.select(1, pair))) << pair;
    EXPECT_TRUE(table.sin.select(1, pair).equal(plain.sin.select(1, pair))) << pair;
  }
  const RotarySections blocks = rotary_sections({3, 2, 2}, /*interleaved=*/false).value();
  EXPECT_THROW(positions_of_pairs(positions, blocks, 6), bridge::Error);
}

// In BF16, the last bit shows the order of cast and multiplication.
TEST(Norm, EveryKindAndType) {
  const auto check = [](const std::string& name, NormKind kind, double tolerance) {
    const auto part = [&](const char* which) {
      return transformers_says("norm." + name + "." + which);
    };
    const at::Tensor y = rms_norm(part("x"), part("weight").to(at::kFloat), {kind, 1e-3});
    EXPECT_LE(largest_difference(y, part("y")), tolerance) << name;
  };
  check("plain.float32", NormKind::kCastThenScale, 1e-6);
  check("plain.bfloat16", NormKind::kCastThenScale, 0);
  check("zero_centred.float32", NormKind::kZeroCentred, 1e-6);
  check("zero_centred.bfloat16", NormKind::kZeroCentred, 0);
}

void expect_routing(const std::string& name, const RouterConfig& router) {
  const at::Tensor logits = transformers_says("router.logits");
  const Routing routing = route(router, logits, transformers_says("router.bias"));
  const at::Tensor by_expert =
      at::zeros({logits.size(0), router.experts}).scatter(1, routing.experts, routing.weights);
  EXPECT_LT(largest_difference(by_expert, transformers_says("router." + name)), 1e-6) << name;
}

TEST(Router, Softmax) {
  RouterConfig router;
  router.experts = 12;
  router.chosen = 4;
  expect_routing("not_normalized", router);
  router.normalized = true;
  expect_routing("mixtral", router);
  expect_routing("qwen3_moe", router);
}

TEST(Router, SigmoidInGroups) {
  RouterConfig router;
  router.score = RouterScore::kSigmoid;
  router.experts = 12;
  router.chosen = 4;
  router.groups = 4;
  router.chosen_groups = 2;
  router.ranked_by = 2;
  router.selection_bias = true;
  router.factor = 2.5;
  expect_routing("deepseek_v3_not_normalized", router);
  router.normalized = true;
  expect_routing("deepseek_v3", router);
}

}  // namespace
}  // namespace models
