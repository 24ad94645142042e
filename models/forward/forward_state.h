// What one forward pass carries from layer to layer. Every member says who makes it and who uses it.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <utility>

#include "models/forward/rotary.h"
#include "models/model/model_config.h"

namespace models {

struct ForwardState {
  // [B, S] int64. Made from the prompt; each MTP depth shifts it by one; the embedding and routers by token read it.
  at::Tensor ids;
  // [B, S, D], or [B, S, n, D] of n streams: what goes from layer to layer. Made by the embedding; each layer adds to it.
  at::Tensor hidden;
  // Where mlp counts the experts that tokens of this layer were sent to; null: nobody asks. Made by the pass, which reports it.
  int64_t* routed_experts = nullptr;

  // Tables of the rotary encodings met so far, for positions 0 .. S - 1. Made on first use by an attention; the layers of
  // a model share one or a few. A deque: a table stays where it is when another is made.
  std::deque<std::pair<RotaryConfig, RotaryTable>> rotary_tables;

  const RotaryTable& rotary(const RotaryConfig& config) {
    for (const auto& [known, table] : rotary_tables) {
      if (known == config) return table;
    }
    return rotary_tables
        .emplace_back(config, rotary_table(config, hidden.size(1), hidden.options()))
        .second;
  }
};

}  // namespace models
