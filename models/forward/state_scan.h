// The scan of Mamba-2 (state space duality): every head has a state that each token lets decay and
// adds an outer product to. Two ways compute the same: token by token, and by chunks of tokens with
// matrix products.
//
// Token by token, for each head with state S [P, N] (0 at first), all in fp32, with the length dt
// of the token's time step and the head's rate A < 0:
//   1. S <- exp(A dt_t) S + dt_t x_t b_t^T
//   2. y_t = S c_t
// By chunks of C tokens (the last may have fewer), with G the running sums of A dt in the chunk and
// E_ij = exp(sum of A dt over j + 1 .. i) for j <= i:
//   1. with the state S before the chunk:
//      y = (lower triangle of (c b^T E)) (dt x) + exp(G) (c S^T)
//   2. S <- exp(G_C) S + (dt x exp(G_C - G))^T b
// Truth: transformers' mamba2_chunk_scan, mamba2_selective_state_update (modeling_nemotron_h.py);
// Dao and Gu, Transformers are SSMs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// x: [B, H, S, P]; step (dt): [B, H, S]; rate (A): [H]; b, c: [B, G, S, N], each of the G for H / G
// neighbouring heads; all fp32. Gives [B, H, S, P].
at::Tensor state_scan_by_token(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                               const at::Tensor& b, const at::Tensor& c);
at::Tensor state_scan_by_chunk(const at::Tensor& x, const at::Tensor& step, const at::Tensor& rate,
                               const at::Tensor& b, const at::Tensor& c, int64_t chunk);

}  // namespace models
