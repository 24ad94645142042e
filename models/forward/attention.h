// Attention of one layer, by kind. Each takes the normed hidden states and gives what is added to the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/forward/forward_state.h"
#include "models/model/model_config.h"
#include "models/weights/weights.h"

namespace models {

// x: [B, S, D]. state gives rotary tables.
at::Tensor attention(const AttentionConfig& config, const NormConfig& norm,
                     const SectionWeights& weights, const at::Tensor& x, ForwardState& state);

// The kinds. Grouped queries (Llama, Qwen, Mixtral), with biases and query/key norms where the model has them.
at::Tensor grouped_attention(const GroupedAttention& config, const NormConfig& norm,
                             const SectionWeights& weights, const at::Tensor& x,
                             ForwardState& state);
// Multi-head latent attention (DeepSeek-V2, V3).
at::Tensor latent_attention(const LatentAttention& config, const NormConfig& norm,
                            const SectionWeights& weights, const at::Tensor& x,
                            ForwardState& state);

// A window of tokens and summaries of those before (DeepSeek-V4).
at::Tensor compressed_attention(const CompressedAttention& config, const NormConfig& norm,
                                const SectionWeights& weights, const at::Tensor& x,
                                ForwardState& state);
// Linear attention (Qwen3-Next, Qwen3.5).
at::Tensor delta_attention(const DeltaAttention& config, const NormConfig& norm,
                           const SectionWeights& weights, const at::Tensor& x);

// [B, S, heads * d] <-> [B, heads, S, d].
at::Tensor split_heads(const at::Tensor& x, int64_t heads);
at::Tensor join_heads(const at::Tensor& x);

// softmax(scale * q k^T) v, softmax in fp32, a token sees itself and those before it (window > 0: the last `window`
// of these). q: [B, H, S, dk]; k, v: [B, G, S, dk or dv], each of the G serving H / G neighbouring heads.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t window);

// q: [B, H, S, d]; kv: [B, 1, K, d], keys and values of all heads; visible: bool [B, S, K]; sink: [H] fp32, a score that
// takes weight in every softmax of its head and has no value.
at::Tensor sink_attention(const at::Tensor& q, const at::Tensor& kv, const at::Tensor& visible,
                          const at::Tensor& sink, double scale);

}  // namespace models
