// The state space of Mamba-2: linear attention whose state decays by a number a head and token. Two
// ways compute the same: token by token, and by chunks of tokens with matrix products.
//
// Token by token, for each head with state S [N, P] (0 at first), all in fp32:
//   1. S <- exp(rate step_t) S + b_t (step_t x_t)^T
//   2. y_t = S^T c_t
// By chunks of C tokens (the last may have fewer), with A the running sums of rate step in the
// chunk and E_ij = exp(A_i - A_j) for j <= i:
//   1. y = lower triangle of (c b^T E) (step x) + (c exp(A)) S, with the state S before the chunk
//   2. S <- exp(A_C) S + (b exp(A_C - A))^T (step x)
// Neighbouring heads share b and c.
// Truth: transformers' mamba2_selective_state_update, mamba2_chunk_scan (modeling_nemotron_h.py);
// Dao and Gu, Transformers are SSMs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// x: [B, H, S, P]; step, at least 0: [B, H, S]; rate, at most 0: [H]; b, c: [B, G, S, N], H a
// multiple of G; all fp32. Gives [B, H, S, P].
at::Tensor state_space_by_token(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                                const at::Tensor& b, const at::Tensor& c);
at::Tensor state_space_by_chunk(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                                const at::Tensor& b, const at::Tensor& c, int64_t chunk);

}  // namespace models
