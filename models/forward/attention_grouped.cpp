// Grouped-query attention:
//   1. q, k, v = W x (+ b), split into heads; optionally an RMS norm over the channels of each q
//      and k head, or before the split over those of all q heads and of all k heads
//   2. q and k are turned by position, unless the layer has no positions; in some models each head
//      is then divided by its root mean square, or q sharpened by its position
//   3. o = causal attention with scale 1 / sqrt(head_dim) or the model's own, its soft cap and its
//      sink for each head, if the model has them; inside chunks of the sequence, where it has those
//   4. if gated, every channel of o is multiplied by sigmoid(Wg x)
//   5. out = Wo o (+ b)
// Truth: transformers' LlamaAttention, Qwen2Attention, Qwen3Attention, Qwen3_5Attention,
// MixtralAttention, OlmoeAttention, Gemma2Attention, Gemma3Attention, GptOssAttention,
// Llama4TextAttention.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/forward/attention.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"
#include "models/forward/query_blocks.h"

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

// x: queries or keys, [B, heads, S, head_dim].
at::Tensor placed(const GroupedAttention& config, const NormConfig& norm, const at::Tensor& x,
                  ForwardState& state) {
  const at::Tensor turned =
      config.rotary.channels == 0 ? x : rotate(x, config.rotary, state.rotary(config.rotary));
  return config.unit_qk ? rms_unit(turned, norm.eps) : turned;
}

// q: [B, heads, S, head_dim].
at::Tensor sharpened(const GroupedAttention& config, const at::Tensor& q) {
  if (config.sharpening == 0) return q;
  const at::Tensor numbers = at::arange(1, q.size(2) + 1, q.options().dtype(at::kFloat));
  const at::Tensor factors =
      (numbers / config.sharpened_from).floor().log1p() * config.sharpening + 1;
  return (q * factors.unsqueeze(-1)).to(q.scalar_type());
}

// Of whole sequences, or of one chunk after the other.
at::Tensor attended(const GroupedAttention& config, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, const at::Tensor& sink, ForwardState& state) {
  const double scale =
      config.scale > 0 ? config.scale : 1 / std::sqrt(static_cast<double>(config.head_dim));
  const int64_t tokens = q.size(2);
  const int64_t chunk = config.chunk > 0 ? config.chunk : tokens;
  std::vector<at::Tensor> chunks;
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t count = std::min(chunk, tokens - first);
    chunks.push_back(core_attention(q.narrow(2, first, count), k.narrow(2, first, count),
                                    v.narrow(2, first, count), scale, config.window, config.cap,
                                    sink, state));
  }
  return joined_blocks(chunks, 2);
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
  q = sharpened(config, placed(config, norm, q, state));
  k = placed(config, norm, k, state);
  const at::Tensor sink = config.sinks ? weights.get_f32(Role::kSink) : at::Tensor();
  at::Tensor out = join_heads(attended(config, q, k, v, sink, state));
  if (config.gated) out = out * linear(x, weights, Role::kQGate).sigmoid();
  const at::Tensor projected = linear(out, weights, Role::kO);
  return config.output_bias ? projected + weights.get(Role::kOBias) : projected;
}

}  // namespace models
