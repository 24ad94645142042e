#include "models/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>

#include <limits>

namespace models {
namespace {

at::Tensor dispatch(const GroupedAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return grouped_attention(config, norm, weights, x, state);
}

at::Tensor dispatch(const LatentAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return latent_attention(config, norm, weights, x, state);
}

at::Tensor dispatch(const CompressedAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return compressed_attention(config, norm, weights, x, state);
}

at::Tensor dispatch(const DeltaAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState&) {
  return delta_attention(config, norm, weights, x);
}

at::Tensor repeated(const at::Tensor& x, int64_t times) {
  if (times == 1) return x;
  return x.unsqueeze(2).expand({-1, -1, times, -1, -1}).flatten(1, 2);
}

}  // namespace

at::Tensor attention(const AttentionConfig& config, const NormConfig& norm,
                     const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return std::visit([&](const auto& kind) { return dispatch(kind, norm, weights, x, state); },
                    config);
}

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);
}

at::Tensor join_heads(const at::Tensor& x) {
  return x.transpose(1, 2).flatten(2);
}

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t window) {
  const int64_t times = q.size(1) / k.size(1);
  const int64_t tokens = q.size(2);
  at::Tensor visible = at::ones({tokens, tokens}, q.options().dtype(at::kBool)).tril();
  if (window > 0) visible = visible.triu(1 - window);
  const at::Tensor scores = q.matmul(repeated(k, times).transpose(2, 3)) * scale;
  const at::Tensor weights =
      scores.masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity())
          .softmax(-1, at::kFloat)
          .to(q.scalar_type());
  return weights.matmul(repeated(v, times));
}

}  // namespace models
