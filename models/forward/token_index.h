// The index of latent attention (DSA), which chooses the tokens that a token attends to:
//   1. q of each index head = Wq c, c the normed latent vector of the queries; k = norm(Wk x), one
//      for all heads, with a LayerNorm that has a bias
//   2. the first channels of each are turned by position, as the attention's own or in halves
//   3. a token attends to the best scored (index_scores.h) of itself and the tokens before it, or
//      to all of these where they are few; the weights of the heads are Ww x, in fp32
//   4. a layer may take over what the last layer with an index of its own chose
// A Hadamard rotation of q and k, which Megatron-Core has as an option, changes no product of them.
// Truth: transformers' DeepseekV32Indexer, GlmMoeDsaIndexer; Megatron-Core 0.19 dsa.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/forward/forward_state.h"
#include "models/model/model_config.h"
#include "models/weights/weights.h"

namespace models {

// The index of a layer: its own, or the one that it shares. x: [B, S, D]; latent: [B, S, q_rank].
// state keeps the index for the layers that share it. Error: kUnsupported if the layer that it is
// shared with was not run. No gradient passes through it: it only chooses.
IndexedTokens indexed_tokens(const LatentAttention& config, const SectionWeights& weights,
                             const at::Tensor& x, const at::Tensor& latent, ForwardState& state);

// softmax(scale * q k^T) v over the `chosen` tokens with the best scores, with the softmax in fp32;
// a part of a layer, which the backward pass may run again. q, k: [B, H, S, dk]; v: [B, H, S, dv].
at::Tensor chosen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, const IndexedTokens& index, int64_t chosen,
                            ForwardState& state);

}  // namespace models
