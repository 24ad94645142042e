// The forward pass: from token numbers to logits of the main head and of every multi-token
// prediction depth.
//
//   1. x = embedding rows of the prompt, gathered one by one, times the model's scale
//   2. each layer: x += attention(norm(x)); x += mlp(norm(x)); with norms of results,
//      x += norm(attention(norm(x))); x += norm(mlp(norm(x))); some layers are one of the two
//   3. h_0 = norm(x): the input of the main head
//   4. depth k = 1 .. K: the prompt moves one to the left, and 0 comes in at its end;
//      u = W [norm(embedding), norm(h_(k-1))]; u goes through the depth's layer; h_k = norm(u)
//   With hyper-connections (models/forward/hyper_connection.h) x is several streams, all equal at
//   first, and 2 to 4 are
//      2. x = after(attention(norm(before(x)))), then the same with mlp
//      3. the input of the main head is norm(head(x))
//      4. each stream i of u is W_e norm(embedding) + W_h norm(x_i), with x the streams of the
//         depth before; the input of the depth's head is norm(head(u)), with the depth's own norm
//         and head
//   5. one pass over the output layer by blocks of the vocabulary gives the logits of every head,
//      softly capped where the model says so
// Memory holds one weight tensor, or a block of a large one, at a time, and nothing is recorded for
// gradients. In a training step (models/train) the same code runs on weights that are leaves of
// autograd.
// Truth: transformers' modeling_*.py and MtpModel; Megatron-Core's multi_token_prediction.py;
// DeepSeek-V4 inference/model.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/forward/forward_state.h"
#include "models/forward/layer_parts.h"
#include "models/forward/recompute.h"
#include "models/forward/sequences.h"
#include "models/weights/weights.h"

namespace models {

// The residual stream at one place of a pass: "hidden_embed", "hidden.N" after layer N,
// "hidden_final" after the last norm, "mtp_hidden.K" after depth K (from 0) and its norm. Its shape
// is [B, S, D]; the streams before a head are [B, S, n, D].
struct HiddenState {
  std::string name;
  at::Tensor hidden;
};

// The part of the weights that a pass used. The pass says nothing about the rest.
struct Coverage {
  struct Experts {
    std::string layer;   // "layers.3", "mtp.0"
    int64_t routed = 0;  // experts that some token was sent to
    int64_t count = 0;
  };
  int64_t embedding_rows = 0;    // of the prompt
  std::vector<Experts> experts;  // of each layer that has experts, in the order of the pass
};

// Decoder layers begin .. end - 1, and what else one of several processes has of a model.
struct LayerRange {
  int64_t begin = 0;
  int64_t end = 0;
  bool has_embedding = false;
  bool has_heads = false;  // the last norm, multi-token prediction and the output layer
  bool has_rest = false;   // a vision tower, and tensors that a side holds twice
  bool contains(int64_t layer) const { return begin <= layer && layer < end; }
  bool contains(const TensorId& id) const;
};

struct PassOptions {
  // If set, only these layers run: the first of them reads the embedding, and the heads run only
  // if the range has them.
  std::optional<LayerRange> layers;
  // If set, the pass begins behind this state instead of with the embedding.
  std::optional<LayerState> start = {};
  // If set, it gives the residual stream that each layer reads, and the last norm (as the layer
  // after the last one), so that no layer depends on another.
  std::function<at::Tensor(int64_t layer)> input = {};
  Coverage* coverage = nullptr;
  // Records the operations for autograd. The decoder's layers are then one place, "hidden.N" of the
  // last one.
  bool gradients = false;
  // With gradients: the parts that the backward pass runs again. Whatever the pass refers to, and
  // the pass itself, must then live until the backward pass is done.
  Recompute recompute = {};
  // The sequences of a packed row (check_offsets must have passed); empty: every row is one.
  Offsets offsets = {};
  // [S] int64: positions of the tokens; undefined: they begin with 0 in each sequence. [3, S]:
  // three of each, for which `sections` must be set.
  at::Tensor positions = {};
  std::optional<RotarySections> sections = std::nullopt;
  // If set, it runs the small parts of decoder layers with hyper-connections; other layers and
  // multi-token prediction do not know it.
  LayerParts* parts = nullptr;
  // [B, S] bool: tokens that the losses of routers leave out; undefined: none.
  at::Tensor left_out = {};
  RouterLoss router_loss = {};  // ForwardState::router_loss
};

// One forward pass that advances place by place, so that two passes can run side by side and only
// the last state is kept. `weights` must outlive it. Use it from one thread.
class ForwardPass {
 public:
  // ids: [B, S] int64. Errors: kBadInput for an empty prompt and for a token outside the
  // vocabulary.
  ForwardPass(Weights& weights, const Compute& compute, const at::Tensor& ids,
              const PassOptions& options = {});

  // Advances to the next place; nullopt at the end.
  std::optional<HiddenState> next();
  // After the end: the input of every head, the main one first; empty if only some layers ran.
  const std::vector<at::Tensor>& heads() const { return heads_; }
  // What the layer after the last place would take over.
  LayerState layer_state() const { return {state_.hidden, state_.indices}; }
  // What every router gave for PassOptions::router_loss, in the order of the pass.
  const std::vector<at::Tensor>& router_losses() const { return state_.router_losses; }

 private:
  SectionWeights section(Section section, int64_t index) const;
  at::Tensor embedding(const at::Tensor& ids) const;
  // These read and change state.hidden. parts: nullptr, or what runs the small parts of the layer,
  // which then is decoder layer `index`.
  void layer(const std::string& name, const LayerConfig& config, const SectionWeights& weights,
             ForwardState& state, LayerParts* parts = nullptr, int64_t index = 0) const;
  void decoder_layers(int64_t begin, int64_t end, ForwardState& state) const;
  at::Tensor depth_part(int64_t depth, const at::Tensor& embedding, ForwardState& state) const;
  at::Tensor head(const SectionWeights& weights, Role final_norm, const at::Tensor& hidden) const;
  at::Tensor joined(const SectionWeights& weights, const at::Tensor& embedding,
                    const at::Tensor& previous) const;
  HiddenState first_state();
  HiddenState decoder_layer(int64_t index);
  HiddenState decoder();
  HiddenState final_state();
  HiddenState mtp(int64_t depth);

  Weights& weights_;
  const ModelConfig& config_;
  Compute compute_;
  LayerRange layers_;
  std::function<at::Tensor(int64_t)> input_;
  bool has_heads_;
  bool gradients_;
  Recompute recompute_;
  Coverage* coverage_;
  LayerParts* parts_;
  int64_t place_ = 0;  // 0: the embedding, then the layers, the last norm, the depths
  ForwardState state_;
  std::vector<at::Tensor> heads_;
};

// The output layer, read one block of the vocabulary at a time: once for all heads and never whole.
class OutputLayer {
 public:
  static constexpr int64_t kBlockBytes = 16 << 20;  // of fp32 weights
  static constexpr int64_t kMostLogits = 1 << 20;   // at once: their statistics are sums of doubles

  OutputLayer(Weights& weights, const Compute& compute) : weights_(weights), compute_(compute) {}

  // The number of rows of a block; the last block may have fewer.
  int64_t step() const;
  // How many rows of hidden states keep the number of logits of a block bounded.
  int64_t rows_at_once() const;
  // The block that begins at row `first`, [rows, D].
  at::Tensor block(int64_t first) const;
  // All of it, [V, D]; a gradient passes through it.
  at::Tensor whole() const;
  // The logits of rows of hidden states, [..., D], by a block or the whole, [rows, D].
  at::Tensor logits(const at::Tensor& hidden, const at::Tensor& block) const;

 private:
  Role role() const { return weights_.config().tied ? Role::kEmbedding : Role::kOutput; }

  Weights& weights_;
  Compute compute_;
};

}  // namespace models
