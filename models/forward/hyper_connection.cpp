#include "models/forward/hyper_connection.h"

#include <ATen/TensorOperators.h>

#include <cmath>

#include "models/forward/linear.h"
#include "models/forward/sinkhorn.h"

namespace models {
namespace {

bool is_main(const HyperConnections& config) {
  return config.dialect == HyperDialect::kMegatronMain;
}

// 1 / rms of each row, [B, S, 1].
at::Tensor inverse_rms(const HyperConnections& config, double norm_eps, const at::Tensor& flat) {
  if (!is_main(config)) return (flat.pow(2).mean(-1, /*keepdim=*/true) + norm_eps).rsqrt();
  const double root = std::sqrt(static_cast<double>(flat.size(-1)));
  return (flat.norm(2, -1, /*keepdim=*/true) / root + config.eps).reciprocal();
}

at::Tensor mapped(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                  const at::Tensor& streams) {
  const at::Tensor flat = streams.flatten(2).to(at::kFloat);
  const at::Tensor rms = inverse_rms(config, norm_eps, flat);
  return linear(flat, weights.mapping) * rms;
}

}  // namespace

HyperMix hyper_mapping(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                       const at::Tensor& streams) {
  const int64_t n = config.streams;
  const at::Tensor mapping = mapped(config, norm_eps, weights, streams);
  const auto scaled = [&](int64_t part, int64_t first, int64_t count) {
    return mapping.narrow(-1, first, count) * weights.scale.select(0, part) +
           weights.base.narrow(0, first, count);
  };
  const at::Tensor pre = scaled(0, 0, n).sigmoid();
  const at::Tensor post = scaled(1, n, n).sigmoid() * 2;
  const at::Tensor mix = sinkhorn(config, scaled(2, 2 * n, n * n).unflatten(-1, {n, n}));
  if (is_main(config)) return {pre, post, mix.transpose(-1, -2)};
  return {pre + config.eps, post, mix};
}

at::Tensor hyper_input(const at::Tensor& pre, const at::Tensor& streams) {
  return (pre.unsqueeze(-1) * streams).sum(2).to(streams.scalar_type());
}

at::Tensor hyper_spread(const at::Tensor& post, const at::Tensor& y) {
  return post.unsqueeze(-1) * y.unsqueeze(2);
}

at::Tensor hyper_mixed(const at::Tensor& mix, const at::Tensor& streams) {
  return mix.transpose(-1, -2).matmul(streams.to(at::kFloat));
}

at::Tensor hyper_after(const at::Tensor& post, const at::Tensor& mix, const at::Tensor& y,
                       const at::Tensor& streams) {
  return (hyper_spread(post, y) + hyper_mixed(mix, streams)).to(streams.scalar_type());
}

at::Tensor hyper_head(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                      const at::Tensor& streams) {
  if (is_main(config)) return streams.mean(2);
  const at::Tensor pre =
      (mapped(config, norm_eps, weights, streams) * weights.scale + weights.base).sigmoid() +
      config.eps;
  return hyper_input(pre, streams);
}

}  // namespace models
