// The state that one forward pass carries from layer to layer. The comment of every member says
// which part makes it and which parts use it.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "models/forward/linear.h"
#include "models/forward/recompute.h"
#include "models/forward/rotary.h"
#include "models/forward/sequences.h"
#include "models/model/model_config.h"
#include "models/weights/weights.h"

namespace models {

using RouterLoss = std::function<at::Tensor(const RouterConfig& router, const at::Tensor& logits,
                                            const at::Tensor& left_out)>;

// What an index ranks the tokens of a sequence by (token_index.h).
struct IndexedTokens {
  at::Tensor q;        // [B, S, index heads, d]
  at::Tensor keys;     // [B, S, d]
  at::Tensor weights;  // [B, S, index heads], fp32
};

// What a decoder layer takes over from the one before it, and a process from the one that ran it.
struct LayerState {
  at::Tensor hidden;                         // ForwardState::hidden
  std::map<int64_t, IndexedTokens> indices;  // ForwardState::indices
};

struct ForwardState {
  // [B, S] int64. The prompt gives it, and each MTP depth shifts it by one. The embedding and the
  // routers by token read it.
  at::Tensor ids;
  // The residual stream: [B, S, D], or [B, S, n, D] with n streams. The embedding makes it; each
  // layer adds to it.
  at::Tensor hidden;
  // The sequences of a packed row, which is the only row then; empty: every row is one sequence.
  // The pass sets it. Attention stays inside each, and MTP depths shift each by itself.
  Offsets offsets;
  // [S] int64: the position of every token, or [3, S]: its three; undefined: 0 .. S - 1. The pass
  // sets it, and the rotary tables are made for it.
  at::Tensor positions;
  // How tokens with three positions turn. The pass sets it.
  std::optional<RotarySections> sections;
  // The tokens of the one sequence that attention works on; nullopt: all. Attention sets it.
  struct Tokens {
    int64_t first = 0;
    int64_t count = 0;
  };
  std::optional<Tokens> tokens;
  // [B, S] bool, or undefined: tokens that the losses of routers leave out. The pass sets it, and
  // each MTP depth shifts it by one.
  at::Tensor left_out;
  // If set, every router adds to `router_losses` what this gives for its logits, [B S, experts]
  // fp32, and `left_out`. The pass sets it.
  RouterLoss router_loss;
  std::vector<at::Tensor> router_losses;
  // The parts of a layer that the backward pass runs again. The pass sets it.
  RecomputedParts recomputed;
  // What computes the linears, and must know of a second run of a part; null: x W^T. The pass sets
  // it.
  LinearRule* linears = nullptr;
  // To the device of `hidden`; null: the host waits for a copy. The pass sets it.
  DeviceCopies* copies = nullptr;
  // Time steps of Mamba-2 are not below the model's limit. The pass sets it.
  bool limited_steps = true;
  // The counter where mlp counts the experts that tokens of this layer were sent to; null: not
  // counted. The pass sets and reports it.
  int64_t* routed_experts = nullptr;

  // By the first token of a sequence: what the last index of latent attention ranks tokens by. A
  // layer with an index of its own makes it; layers that share it and the layer itself use it.
  std::map<int64_t, IndexedTokens> indices;

  // The tables of the rotary encodings met so far, for the positions of all tokens. An attention
  // makes them on first use; the layers of a model share one or a few. It is a deque so that
  // references to a table stay valid when another is made.
  std::deque<std::pair<RotaryConfig, RotaryTable>> rotary_tables;

  // The table for `tokens`.
  RotaryTable rotary(const RotaryConfig& config) {
    const RotaryTable& all = table_of_all(config);
    if (!tokens) return all;
    return {all.cos.narrow(0, tokens->first, tokens->count),
            all.sin.narrow(0, tokens->first, tokens->count)};
  }

 private:
  const RotaryTable& table_of_all(const RotaryConfig& config) {
    for (const auto& [known, table] : rotary_tables) {
      if (known == config) return table;
    }
    return rotary_tables.emplace_back(config, made_table(config)).second;
  }

  RotaryTable made_table(const RotaryConfig& config) const {
    const RotaryTable here = table_on_cpu(config, hidden.scalar_type());
    const Compute there{.device = hidden.device(), .copies = copies};
    return {on_device(here.cos, there), on_device(here.sin, there)};
  }

  RotaryTable table_on_cpu(const RotaryConfig& config, at::ScalarType type) const {
    if (!positions.defined()) return rotary_table(config, hidden.size(1), type);
    const at::Tensor places = positions.dim() == 1
                                  ? positions
                                  : positions_of_pairs(positions, *sections, config.channels / 2);
    return rotary_table_at(config, places, type);
  }
};

}  // namespace models
