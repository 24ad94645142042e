// Linear attention with the gated delta rule (Gated DeltaNet):
//   1. q, k, v = silu of a causal convolution of W x, channel by channel
//   2. q and k are scaled to length one in every head, then q by 1 / sqrt(key_dim); a key head
//      serves several value heads
//   3. beta = sigmoid(Wb x); decay g = -exp(A_log) softplus(Wa x + bias); one fp32 number of each
//      per value head
//   4. o by the gated delta rule (models/forward/delta_rule.h)
//   5. out = Wo (rms_norm(o) * silu(Wz x)); the norm is over a head's channels, and its weight is
//      not zero-centred
// Truth: transformers' Qwen3_5GatedDeltaNet, Qwen3_5RMSNormGated.
#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>

#include <cmath>

#include "models/forward/attention.h"
#include "models/forward/causal_convolution.h"
#include "models/forward/delta_rule.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"

namespace models {
namespace {

constexpr int64_t kChunk = 64;

// [B, heads, S, d] fp32.
at::Tensor convolved(const SectionWeights& weights, const at::Tensor& x, Role projection,
                     Role kernel, int64_t heads) {
  const at::Tensor flat = causal_convolution(linear(x, weights, projection), weights.get(kernel));
  return split_heads(at::silu(flat), heads).to(at::kFloat);
}

// [B, S, heads] -> [B, heads, S]
at::Tensor by_head(const at::Tensor& x) {
  return x.to(at::kFloat).transpose(1, 2);
}

}  // namespace

at::Tensor delta_attention(const DeltaAttention& config, const NormConfig& norm,
                           const SectionWeights& weights, const at::Tensor& x) {
  const int64_t shared = config.value_heads / config.key_heads;
  const auto for_value_heads = [&](const at::Tensor& heads) {
    return unit_length(heads).repeat_interleave(shared, 1);
  };
  const at::Tensor q =
      for_value_heads(convolved(weights, x, Role::kQ, Role::kQConv, config.key_heads)) *
      std::pow(static_cast<double>(config.key_dim), -0.5);
  const at::Tensor k =
      for_value_heads(convolved(weights, x, Role::kK, Role::kKConv, config.key_heads));
  const at::Tensor v = convolved(weights, x, Role::kV, Role::kVConv, config.value_heads);
  const at::Tensor beta = by_head(linear(x, weights, Role::kBeta).sigmoid());
  const at::Tensor step = at::softplus(linear(x, weights, Role::kAlpha).to(at::kFloat) +
                                       weights.get_f32(Role::kDecayBias));
  const at::Tensor decay = by_head(-weights.get_f32(Role::kDecay).exp() * step);

  const at::Tensor out = x.size(1) == 1 ? delta_rule_by_token(q, k, v, decay, beta)
                                        : delta_rule_by_chunk(q, k, v, decay, beta, kChunk);
  const NormConfig head_norm{NormKind::kCastThenScale, norm.eps};
  const at::Tensor normed =
      rms_norm(out.to(x.scalar_type()), weights.get_f32(Role::kHeadNorm), head_norm);
  const at::Tensor gate =
      split_heads(linear(x, weights, Role::kZ), config.value_heads).to(at::kFloat);
  return linear(join_heads((normed * at::silu(gate)).to(x.scalar_type())), weights, Role::kO);
}

}  // namespace models
