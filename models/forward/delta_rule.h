// The gated delta rule: linear attention whose state maps keys to values. Each token lets the state
// decay, then corrects the value that the state holds for the token's key. Two ways compute the
// same: token by token, and by chunks of tokens with matrix products.
//
// Token by token, for each value head with state S [dk, dv] (0 at first), all in fp32:
//   1. S <- exp(g_t) S
//   2. d = beta_t (v_t - S^T k_t); S <- S + k_t d^T
//   3. o_t = S^T q_t
// By chunks of C tokens (the last may have fewer), with G the running sums of g in the chunk and
// E_ij = exp(G_i - G_j) for j <= i:
//   1. (I + strict lower triangle of (beta k k^T E)) [u, w] = [beta v, beta k exp(G)]
//   2. with the state S before the chunk: n = u - w S;
//      o = (q exp(G)) S + lower triangle of (q k^T E) n
//   3. S <- exp(G_C) S + (k exp(G_C - G))^T n
// Truth: transformers' torch_recurrent_gated_delta_rule, torch_chunk_gated_delta_rule
// (modeling_qwen3_5.py); Yang et al., Gated Delta Networks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// q, k: [B, H, S, dk], already scaled and of length one as the model wants them; v: [B, H, S, dv];
// decay (g, at most 0), beta: [B, H, S]; all fp32. Gives [B, H, S, dv].
at::Tensor delta_rule_by_token(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& decay, const at::Tensor& beta);
at::Tensor delta_rule_by_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& decay, const at::Tensor& beta, int64_t chunk);

// Scales x along the last axis to length one, up to the eps under the root.
at::Tensor unit_length(const at::Tensor& x);

}  // namespace models
