#include "models/forward/hyper_connection.h"

#include <ATen/TensorOperators.h>

#include "models/forward/linear.h"

namespace models {
namespace {

at::Tensor mapped(double norm_eps, const HyperWeights& weights, const at::Tensor& streams) {
  const at::Tensor flat = streams.flatten(2).to(at::kFloat);
  const at::Tensor rms = (flat.pow(2).mean(-1, /*keepdim=*/true) + norm_eps).rsqrt();
  return linear(flat, weights.mapping) * rms;
}

at::Tensor contracted(const at::Tensor& pre, const at::Tensor& streams) {
  return (pre.unsqueeze(-1) * streams).sum(2).to(streams.scalar_type());
}

at::Tensor doubly_stochastic(const HyperConnections& config, const at::Tensor& logits) {
  const auto by_sum_over = [&](const at::Tensor& matrix, int64_t axis) {
    return matrix / (matrix.sum(axis, /*keepdim=*/true) + config.eps);
  };
  at::Tensor matrix = by_sum_over(logits.softmax(-1) + config.eps, -2);
  for (int64_t step = 1; step < config.steps; ++step) {
    matrix = by_sum_over(by_sum_over(matrix, -1), -2);
  }
  return matrix;
}

}  // namespace

HyperMix hyper_before(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                      const at::Tensor& streams) {
  const int64_t n = config.streams;
  const at::Tensor mapping = mapped(norm_eps, weights, streams);
  const auto scaled = [&](int64_t part, int64_t first, int64_t count) {
    return mapping.narrow(-1, first, count) * weights.scale.select(0, part) +
           weights.base.narrow(0, first, count);
  };
  const at::Tensor pre = scaled(0, 0, n).sigmoid() + config.eps;
  const at::Tensor post = scaled(1, n, n).sigmoid() * 2;
  const at::Tensor mix = doubly_stochastic(config, scaled(2, 2 * n, n * n).unflatten(-1, {n, n}));
  return {contracted(pre, streams), post, mix};
}

at::Tensor hyper_after(const HyperMix& mix, const at::Tensor& y, const at::Tensor& streams) {
  const at::Tensor mixed = mix.mix.transpose(-1, -2).matmul(streams.to(at::kFloat));
  return (mix.post.unsqueeze(-1) * y.unsqueeze(2) + mixed).to(streams.scalar_type());
}

at::Tensor hyper_head(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                      const at::Tensor& streams) {
  const at::Tensor pre =
      (mapped(norm_eps, weights, streams) * weights.scale + weights.base).sigmoid() + config.eps;
  return contracted(pre, streams);
}

}  // namespace models
