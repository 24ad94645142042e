// The Sinkhorn iteration against what Megatron-LM main computed, and its gradient against autograd
// and finite differences.
#include "models/forward/sinkhorn.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>

#include "tests/models/expected.h"

namespace models {
namespace {

constexpr HyperConnections kDeepSeek = {4, 20, 1e-6, HyperDialect::kDeepSeek};
constexpr HyperConnections kMain = {4, 20, 1e-6, HyperDialect::kMegatronMain};

at::Tensor megatron_says(const std::string& name) {
  return expected_tensor("megatron_main_mhc/module.safetensors", "sinkhorn." + name);
}

// [3, 4, 4] float64, all different.
at::Tensor made(double start) {
  return ((at::arange(48, at::kDouble) * 2.71 + start).sin() * 2).view({3, 4, 4});
}

double largest(const at::Tensor& x) {
  return x.abs().max().item<double>();
}

// The gradient of the sum of upstream * function(logits).
template <typename Function>
at::Tensor gradient(const Function& function, const at::Tensor& logits,
                    const at::Tensor& upstream) {
  const at::Tensor leaf = logits.clone().set_requires_grad(true);
  return torch::autograd::grad({(function(leaf) * upstream).sum()}, {leaf}).at(0);
}

TEST(Sinkhorn, IsMegatronMains) {
  const at::Tensor logits = megatron_says("logits");
  EXPECT_LT(largest(sinkhorn(kMain, logits) - megatron_says("out")), 1e-14);
  const at::Tensor found = gradient([](const at::Tensor& x) { return sinkhorn(kMain, x); }, logits,
                                    megatron_says("upstream"));
  EXPECT_LT(largest(found - megatron_says("grad")), 1e-14);
  EXPECT_GT(largest(sinkhorn(kDeepSeek, logits) - megatron_says("out")), 1e-7);
}

TEST(Sinkhorn, ColumnsSumToOneAndRowsNearlyDo) {
  for (const HyperConnections& config : {kDeepSeek, kMain}) {
    const at::Tensor matrix = sinkhorn(config, made(0.4));
    EXPECT_LT(largest(matrix.sum(-2) - 1), 1e-5);
    EXPECT_LT(largest(matrix.sum(-1) - 1), 0.05);
    EXPECT_GT(matrix.min().item<double>(), 0);
  }
}

TEST(Sinkhorn, GradientIsAutogradsAndThatOfFiniteDifferences) {
  constexpr double kStep = 1e-3;
  for (const HyperDialect dialect : {HyperDialect::kDeepSeek, HyperDialect::kMegatronMain}) {
    for (const int64_t steps : {1, 2, 20}) {
      const HyperConnections config = {4, steps, 1e-6, dialect};
      const at::Tensor logits = made(0.1);
      const at::Tensor upstream = made(0.7);
      const at::Tensor found =
          gradient([&](const at::Tensor& x) { return sinkhorn(config, x); }, logits, upstream);
      const at::Tensor by_autograd = gradient(
          [&](const at::Tensor& x) { return sinkhorn_steps(config, x); }, logits, upstream);
      EXPECT_LT(largest(found - by_autograd), 1e-14) << steps;
      EXPECT_GT(largest(found), 1e-2) << steps;
      for (int64_t i = 0; i < logits.numel(); ++i) {
        const at::Tensor change = at::zeros_like(logits);
        change.view({-1}).select(0, i).fill_(kStep);
        const auto rise = [&](double times) {
          const auto loss = [&](double side) {
            return (sinkhorn(config, logits + change * side) * upstream).sum().item<double>();
          };
          return loss(times) - loss(-times);
        };
        const double slope = (8 * rise(1) - rise(2)) / (12 * kStep);  // exact to the fourth power
        EXPECT_NEAR(slope, found.view({-1})[i].item<double>(), 1e-9) << steps << ", " << i;
      }
    }
  }
}

}  // namespace
}  // namespace models
