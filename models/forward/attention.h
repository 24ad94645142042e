// Attention of one layer, by kind. Each kind takes the normed hidden states and returns what the
// layer adds to the residual stream. Steps and truth: the .cpp of each kind.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/forward/forward_state.h"
#include "models/model/model_config.h"
#include "models/weights/weights.h"

namespace models {

// x: [B, S, D]. state provides the rotary tables and the sequences of a packed row, each of which
// is computed as if it were alone.
at::Tensor attention(const AttentionConfig& config, const NormConfig& norm,
                     const SectionWeights& weights, const at::Tensor& x, ForwardState& state);

// Grouped-query attention (Llama, Qwen, Mixtral, Gemma), with biases, query/key norms and a soft
// cap of the scores if the model has them.
at::Tensor grouped_attention(const GroupedAttention& config, const NormConfig& norm,
                             const SectionWeights& weights, const at::Tensor& x,
                             ForwardState& state);
// Multi-head latent attention (DeepSeek-V2, V3).
at::Tensor latent_attention(const LatentAttention& config, const NormConfig& norm,
                            const SectionWeights& weights, const at::Tensor& x,
                            ForwardState& state);

// Attention to a window of tokens and to summaries of the tokens before it (DeepSeek-V4).
at::Tensor compressed_attention(const CompressedAttention& config, const NormConfig& norm,
                                const SectionWeights& weights, const at::Tensor& x,
                                ForwardState& state);
// Linear attention (Qwen3-Next, Qwen3.5).
at::Tensor delta_attention(const DeltaAttention& config, const NormConfig& norm,
                           const SectionWeights& weights, const at::Tensor& x);

// Mamba-2 (Nemotron-H). limited_steps: time steps are not below the model's limit.
at::Tensor mamba2_mixer(const Mamba2& config, const SectionWeights& weights, const at::Tensor& x,
                        bool limited_steps = true);

// [B, S, heads * d] <-> [B, heads, S, d].
at::Tensor split_heads(const at::Tensor& x, int64_t heads);
at::Tensor join_heads(const at::Tensor& x);

// softmax(soft_cap(scale * q k^T, cap)) v, with the softmax in fp32. A token sees itself and the
// tokens before it (window > 0: only the last `window` of these). q: [B, H, S, dk]; k, v:
// [B, G, S, dk or dv]; each of the G serves H / G neighbouring heads. sink: undefined, or [H] fp32,
// a score that takes weight in every softmax of its head but has no value.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t window, double cap = 0,
                            const at::Tensor& sink = {});

// The same as a part of a layer, which the backward pass may run again.
at::Tensor core_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          double scale, int64_t window, double cap, const at::Tensor& sink,
                          ForwardState& state);

// q: [B, H, S, d]; kv: [B, 1, K, d], the keys and values of all heads; visible: bool [B, S, K];
// sink: [H] fp32, a score that takes weight in every softmax of its head but has no value.
at::Tensor sink_attention(const at::Tensor& q, const at::Tensor& kv, const at::Tensor& visible,
                          const at::Tensor& sink, double scale);

}  // namespace models
