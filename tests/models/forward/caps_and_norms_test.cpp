// LayerNorm against torch's, soft caps and capped attention against their definitions.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/forward/attention.h"
#include "models/forward/norm.h"
#include "models/forward/soft_cap.h"

namespace models {
namespace {

// Numbers in -1 to 1 without a pattern; `from` chooses others.
at::Tensor numbers(at::IntArrayRef shape, int64_t from) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return (at::arange(from, from + count, at::kFloat) * 12.9898).sin().view(shape);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(LayerNorm, IsTorchs) {
  const at::Tensor x = 3 * numbers({4, 10}, 0) + 1;
  const at::Tensor weight = numbers({10}, 100);
  const at::Tensor bias = numbers({10}, 200);
  const auto torchs = [&](const at::Tensor& scale) {
    return at::layer_norm(x, {10}, scale, bias, 1e-2);
  };
  const at::Tensor plain = layer_norm(x, weight, bias, {NormKind::kLayer, 1e-2});
  EXPECT_LE(largest_difference(plain, torchs(weight)), 1e-6);
  const at::Tensor centred = layer_norm(x, weight, bias, {NormKind::kLayerZeroCentred, 1e-2});
  EXPECT_LE(largest_difference(centred, torchs(weight + 1)), 1e-6);
  const at::Tensor rounded =
      layer_norm(x.to(at::kBFloat16), weight, bias, {NormKind::kLayer, 1e-2});
  EXPECT_EQ(rounded.scalar_type(), at::kBFloat16);
}

// 2 tanh(1/4) is 0.489837.
TEST(SoftCap, KeepsSmallNumbersAndBoundsLargeOnes) {
  const at::Tensor x = at::tensor({-1000.0F, 0.0F, 0.5F});
  EXPECT_LE(largest_difference(soft_cap(x, 2), at::tensor({-2.0F, 0.0F, 0.489837F})), 1e-6);
  EXPECT_TRUE(soft_cap(x, 0).equal(x));
}

TEST(Attention, CapsScoresBeforeItHidesLaterTokens) {
  const at::Tensor q = 4 * numbers({1, 2, 5, 6}, 0);
  const at::Tensor k = numbers({1, 1, 5, 6}, 300);
  const at::Tensor v = numbers({1, 1, 5, 3}, 400);
  const at::Tensor products = q.matmul(k.transpose(2, 3)) * 0.7;
  const at::Tensor later = at::ones({5, 5}, at::kBool).triu(1);
  const at::Tensor scores =
      ((products / 1.5).tanh() * 1.5).masked_fill(later, -std::numeric_limits<float>::infinity());
  const at::Tensor expected = scores.softmax(-1).matmul(v);
  EXPECT_LE(largest_difference(causal_attention(q, k, v, 0.7, 0, 1.5), expected), 1e-6);
  EXPECT_GT(largest_difference(causal_attention(q, k, v, 0.7, 0), expected), 1e-3);
}

}  // namespace
}  // namespace models
