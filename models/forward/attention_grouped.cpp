// Grouped-query attention:
//   1. q, k, v = W x (+ b), split into heads; optionally an RMS norm over the channels of each q
//      and k head
//   2. q and k are turned by position
//   3. o = causal attention with scale 1 / sqrt(head_dim), and a sink for each head if the model
//      has them
//   4. if gated, every channel of o is multiplied by sigmoid(Wg x)
//   5. out = Wo o (+ b)
// Truth: transformers' LlamaAttention, Qwen2Attention, Qwen3Attention, Qwen3_5Attention,
// MixtralAttention, GptOssAttention.
#include <cmath>

#include "models/forward/attention.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"

namespace models {
namespace {

at::Tensor heads_of(const SectionWeights& weights, const at::Tensor& x, int64_t heads, Role weight,
                    Role bias, bool has_bias) {
  const at::Tensor flat =
      has_bias ? linear(x, weights.get(weight), weights.get(bias)) : linear(x, weights.get(weight));
  return split_heads(flat, heads);
}

}  // namespace

at::Tensor grouped_attention(const GroupedAttention& config, const NormConfig& norm,
                             const SectionWeights& weights, const at::Tensor& x,
                             ForwardState& state) {
  at::Tensor q = heads_of(weights, x, config.heads, Role::kQ, Role::kQBias, config.qkv_bias);
  at::Tensor k = heads_of(weights, x, config.kv_heads, Role::kK, Role::kKBias, config.qkv_bias);
  const at::Tensor v =
      heads_of(weights, x, config.kv_heads, Role::kV, Role::kVBias, config.qkv_bias);
  if (config.qk_norm) {
    q = rms_norm(q, weights.get_f32(Role::kQNorm), norm);
    k = rms_norm(k, weights.get_f32(Role::kKNorm), norm);
  }
  const RotaryTable table = state.rotary(config.rotary);
  q = rotate(q, config.rotary, table);
  k = rotate(k, config.rotary, table);
  const double scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
  const at::Tensor sink = config.sinks ? weights.get_f32(Role::kSink) : at::Tensor();
  at::Tensor out = join_heads(causal_attention(q, k, v, scale, config.window, sink));
  if (config.gated) out = out * linear(x, weights.get(Role::kQGate)).sigmoid();
  return config.output_bias ? linear(out, weights.get(Role::kO), weights.get(Role::kOBias))
                            : linear(out, weights.get(Role::kO));
}

}  // namespace models
