// The forward pass: from token numbers to logits of the main head and of every multi-token prediction depth.
//
//   1. x = embedding rows of the prompt, gathered one by one
//   2. each layer: x += attention(norm(x)); x += mlp(norm(x))
//   3. h_0 = norm(x): what the main head reads
//   4. depth k = 1 .. K: the prompt moves one to the left, 0 comes in at its end;
//      u = W [norm(embedding), norm(h_(k-1))]; u goes through the depth's layer; h_k = norm(u)
//   5. one pass over the output layer by blocks of the vocabulary gives the logits of every head
// One tensor of weights is in memory at a time. No autograd, no modules.
// Truth: transformers' modeling_*.py and MtpModel; Megatron-Core's multi_token_prediction.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/weights.h"

namespace models {

// The residual stream as it passes: "hidden_embed", "hidden.N" after layer N, "hidden_final" after the last norm,
// "mtp_hidden.K" after depth K (from 0) and its norm. [B, S, D].
using HiddenVisitor = std::function<void(const std::string& name, const at::Tensor& hidden)>;
// Reproducible results: fixed algorithms and thread count. Once a process, before anything is computed.
void make_deterministic(int threads);

// ids: [B, S] int64. What every head reads, the main one first. Error: kBadInput for a token that the vocabulary does
// not have, and an empty prompt.
std::vector<at::Tensor> run_layers(Weights& weights, const Compute& compute, const at::Tensor& ids,
                                   const HiddenVisitor& on_hidden);

// The output layer, a block of the vocabulary at a time, so that it is read once for all heads and never whole.
class OutputLayer {
 public:
  OutputLayer(Weights& weights, const Compute& compute) : weights_(weights), compute_(compute) {}

  // Rows of a block; the last may have fewer.
  int64_t step() const;
  // The block that begins at row `first`, [rows, D].
  at::Tensor block(int64_t first) const;

 private:
  Weights& weights_;
  Compute compute_;
};

}  // namespace models
