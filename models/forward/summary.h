// Summaries of tokens, and the index that chooses which of them a token sees (compressed attention
// of DeepSeek-V4).
//
// Summary w of a run of r tokens, channel by channel:
//   1. every token t has a value v_t and a gate g_t; the bias of its place t mod r in its run is
//      added to the gate
//   2. plain: sum over the run's tokens of softmax(g)_t v_t
//   3. overlapping: a token has two values and gates, the halves of the channels. Its first half
//      counts in the run after its own, its second half in its own. The softmax is over 2r of them;
//      the first run has only its own r
//   4. tokens of an unfinished run have no summary; a token t sees summary w if w < (t + 1) / r, so
//      the last token of a run sees its summary
// Index: score of summary w for token t = sum over heads h of weight_th relu(q_th . k_w); the token
// sees the best few.
// Truth: DeepSeek-V4 inference/model.py (Compressor, Indexer); Megatron-LM dev csa.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// values, gates: [B, S, d], overlapping [B, S, 2 d]; place_bias: [ratio, d or 2 d] fp32. Gives
// [B, S / ratio, d] in the values' type, neither normed nor turned.
at::Tensor summaries(const at::Tensor& values, const at::Tensor& gates,
                     const at::Tensor& place_bias, bool overlapping);

// Bool [last - first, last / ratio] for the tokens first .. last - 1: true if the run is finished.
at::Tensor finished_summaries(int64_t first, int64_t last, int64_t ratio, at::Device device);

// q: [B, S, heads, d]; keys: [B, W, d]; weights: [B, S, heads]. Gives fp32 [B, S, W].
at::Tensor index_scores(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& weights);

// Bool [B, S, W]: true for the finished summaries with the best `chosen` scores. finished: [S, W].
at::Tensor best_summaries(const at::Tensor& scores, const at::Tensor& finished, int64_t chosen);

}  // namespace models
