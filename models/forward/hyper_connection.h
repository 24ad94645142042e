// Hyper-connections: several residual streams instead of one. Before a part of a layer the streams
// are mixed into one. Its result is spread over them, and they are mixed with each other by a
// matrix whose rows and columns sum to one.
//
//   1. m = W f / rms(f), with f the n streams of a token one after the other; m is
//      [n pre, n post, n x n mix], the mix row by row
//   2. pre = sigmoid(m scale_0 + base) + eps; post = 2 sigmoid(m scale_1 + base)
//   3. mix = the Sinkhorn iteration of (m scale_2 + base) (models/forward/sinkhorn.h)
//   4. the input of the part: x = sum over i of pre_i stream_i
//   5. stream k after the part: post_k y + sum over j of mix_jk stream_j
//   head: the input of the output layer follows 1, 2 and 4 with n numbers of pre
// Megatron-LM main has, of the same weights, something else:
//   1. m = W f / (|f| / sqrt(the length of f) + eps)
//   2. pre has no eps
//   5. the shares of stream k are row k of the matrix, not column k
//   head: the mean of the streams, without weights
// All is computed in fp32; the results have the streams' type.
// Truth: DeepSeek-V4 inference/model.py (Block.hc_pre, hc_post, ParallelHead.hc_head); Megatron-LM
// dev and main, hyper_connection.py.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

// All in fp32.
struct HyperWeights {
  at::Tensor mapping;  // [(2 + n) n, n D], of a head [n, n D]
  at::Tensor base;     // [(2 + n) n], of a head [n]
  at::Tensor scale;    // [3], of a head [1]
};

// What the streams of a token say about mixing them, in fp32.
struct HyperMix {
  at::Tensor pre;   // [B, S, n]
  at::Tensor post;  // [B, S, n]
  at::Tensor mix;   // [B, S, n, n]: [j, k] is the share of stream j in stream k
};

// Each of these is a function of its arguments alone, safe to call from several threads.
// streams: [B, S, n, D]. norm_eps: the eps of the root mean square.
HyperMix hyper_mapping(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                       const at::Tensor& streams);
// The input of the part, [B, S, D].
at::Tensor hyper_input(const at::Tensor& pre, const at::Tensor& streams);
// y: [B, S, D], the part's result. Gives the streams after it: hyper_spread and hyper_mixed in one
// step, in the streams' type.
at::Tensor hyper_after(const at::Tensor& post, const at::Tensor& mix, const at::Tensor& y,
                       const at::Tensor& streams);
// The part's result in every stream, [B, S, n, D] fp32.
at::Tensor hyper_spread(const at::Tensor& post, const at::Tensor& y);
// The streams mixed with each other, [B, S, n, D] fp32.
at::Tensor hyper_mixed(const at::Tensor& mix, const at::Tensor& streams);
// The input of the last norm, [B, S, D]. weights: not read in Megatron main's dialect.
at::Tensor hyper_head(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                      const at::Tensor& streams);

}  // namespace models
