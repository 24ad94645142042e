// Hyper-connections: several residual streams instead of one. Before a part of a layer the streams
// are mixed into one. Its result is spread over them, and they are mixed with each other by a
// matrix whose rows and columns sum to one.
//
//   1. m = W f / rms(f), with f the n streams of a token one after the other; m is
//      [n pre, n post, n x n mix], the mix row by row
//   2. pre = sigmoid(m scale_0 + base) + eps; post = 2 sigmoid(m scale_1 + base)
//   3. mix = softmax of each row of (m scale_2 + base), + eps; each column is divided by
//      (its sum + eps), and then, steps - 1 times, each row and each column
//   4. the input of the part: x = sum over i of pre_i stream_i
//   5. stream k after the part: post_k y + sum over j of mix_jk stream_j
//   head: the input of the output layer follows 1, 2 and 4 with n numbers of pre
// All is computed in fp32; the results have the streams' type.
// Truth: DeepSeek-V4 inference/model.py (Block.hc_pre, hc_post, ParallelHead.hc_head); Megatron-LM
// dev hyper_connection.py.
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

struct HyperMix {
  at::Tensor input;  // [B, S, D]
  at::Tensor post;   // [B, S, n] fp32
  at::Tensor mix;    // [B, S, n, n] fp32
};

// streams: [B, S, n, D]. norm_eps: the eps of the root mean square.
HyperMix hyper_before(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                      const at::Tensor& streams);
// y: [B, S, D], the part's result. Gives the streams after it.
at::Tensor hyper_after(const HyperMix& mix, const at::Tensor& y, const at::Tensor& streams);
// Gives [B, S, D].
at::Tensor hyper_head(const HyperConnections& config, double norm_eps, const HyperWeights& weights,
                      const at::Tensor& streams);

}  // namespace models
