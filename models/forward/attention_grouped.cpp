// Grouped-query attention:
//   1. q, k, v = W x (+ b), split into heads; optionally an RMS norm over the channels of each q
//      and k head, or before the split over those of all q heads and of all k heads
//   2. q and k are turned by position
//   3. o = causal attention with scale 1 / sqrt(head_dim) or the model's own, its soft cap and its
//      sink for each head, if the model has them
//   4. if gated, every channel of o is multiplied by sigmoid(Wg x)
//   5. out = Wo o (+ b)
// Truth: transformers' LlamaAttention, Qwen2Attention, Qwen3Attention, Qwen3_5Attention,
// MixtralAttention, OlmoeAttention, Gemma2Attention, Gemma3Attention, GptOssAttention.
#include <cmath>

#include "models/forward/attention.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"

namespace models {
namespace {

at::Tensor projected(const SectionWeights& weights, const at::Tensor& x, Role weight, Role bias,
                     bool has_bias) {
  const at::Tensor flat = linear(x, weights, weight);
  return has_bias ? flat + weights.get(bias) : flat;
}

// flat: queries or keys, [B, S, heads * head_dim].
at::Tensor normed_heads(const GroupedAttention& config, const NormConfig& norm,
                        const SectionWeights& weights, const at::Tensor& flat, int64_t heads,
                        Role weight) {
  if (!config.qk_norm) return split_heads(flat, heads);
  const at::Tensor scale = weights.get_f32(weight);
  return config.whole_qk_norm ? split_heads(rms_norm(flat, scale, norm), heads)
                              : rms_norm(split_heads(flat, heads), scale, norm);
}

}  // namespace

at::Tensor grouped_attention(const GroupedAttention& config, const NormConfig& norm,
                             const SectionWeights& weights, const at::Tensor& x,
                             ForwardState& state) {
  at::Tensor q = projected(weights, x, Role::kQ, Role::kQBias, config.qkv_bias);
  at::Tensor k = projected(weights, x, Role::kK, Role::kKBias, config.qkv_bias);
  const at::Tensor v =
      split_heads(projected(weights, x, Role::kV, Role::kVBias, config.qkv_bias), config.kv_heads);
  q = normed_heads(config, norm, weights, q, config.heads, Role::kQNorm);
  k = normed_heads(config, norm, weights, k, config.kv_heads, Role::kKNorm);
  const RotaryTable table = state.rotary(config.rotary);
  q = rotate(q, config.rotary, table);
  k = rotate(k, config.rotary, table);
  const double scale =
      config.scale > 0 ? config.scale : 1 / std::sqrt(static_cast<double>(config.head_dim));
  const at::Tensor sink = config.sinks ? weights.get_f32(Role::kSink) : at::Tensor();
  at::Tensor out =
      join_heads(core_attention(q, k, v, scale, config.window, config.cap, sink, state));
  if (config.gated) out = out * linear(x, weights, Role::kQGate).sigmoid();
  const at::Tensor projected = linear(out, weights, Role::kO);
  return config.output_bias ? projected + weights.get(Role::kOBias) : projected;
}

}  // namespace models
