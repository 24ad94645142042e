// The scores of an index, which chooses the tokens or the summaries that a token sees: the score of
// key k for token t = sum over heads h of weight_th relu(q_th . k) / sqrt(heads * d). A token sees
// the best few of what it may see; what topk takes of equal scores depends on the whole row.
// Truth: DeepSeek-V4 inference/model.py (Indexer); transformers' DeepseekV32Indexer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// q: [B, S, heads, d]; keys: [B, K, d]; weights: [B, S, heads]. Gives fp32 [B, S, K].
at::Tensor index_scores(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& weights);

// Returns bool [B, S, K], true for the `chosen` allowed keys with the best scores, or for every
// allowed key if there are at most that many. allowed: bool [S, K].
at::Tensor best_scored(const at::Tensor& scores, const at::Tensor& allowed, int64_t chosen);

}  // namespace models
