// The state that one forward pass carries from layer to layer. The comment of every member says
// which part makes it and which parts use it.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <utility>

#include "models/forward/rotary.h"
#include "models/model/model_config.h"

namespace models {

struct ForwardState {
  // [B, S] int64. The prompt gives it, and each MTP depth shifts it by one. The embedding and the
  // routers by token read it.
  at::Tensor ids;
  // The residual stream: [B, S, D], or [B, S, n, D] with n streams. The embedding makes it; each
  // layer adds to it.
  at::Tensor hidden;
  // The counter where mlp counts the experts that tokens of this layer were sent to; null: not
  // counted. The pass sets and reports it.
  int64_t* routed_experts = nullptr;

  // The tables of the rotary encodings met so far, for positions 0 .. S - 1. An attention makes
  // them on first use; the layers of a model share one or a few. It is a deque so that references
  // to a table stay valid when another is made.
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
