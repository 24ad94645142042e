// Compares the forward passes of two views of what should be one model: every state between layers
// and every head's logits. This finds settings that no tensor shows; tensor_comparison.h finds
// differences in tensors that the prompt does not touch. tolerance.h says how much is allowed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/compare/paired_weights.h"
#include "models/compare/state_comparison.h"
#include "models/forward/forward.h"

namespace models {

struct HeadDifference : StateDifference {
  int64_t rows = 0;
  int64_t top1 = 0;  // rows with the same best token
  int64_t top5 = 0;  // rows with the same five best tokens, in any order
  // Kullback-Leibler divergence of b's distribution from a's, mean over rows, in nats.
  double divergence = 0;
};

struct ForwardVerdict {
  std::string not_comparable;           // the reason why nothing was run; empty if something was
  std::vector<StateDifference> states;  // in the order of the pass
  std::vector<HeadDifference> heads;    // empty if only some layers were run
  Coverage coverage;                    // of a's weights
  bool layer_by_layer = false;          // LayerInputs::seed
  double seconds = 0;                   // without reading; set by the caller, which measures it
};

// The states of both sides between two layers.
struct LayerStates {
  LayerState a;
  LayerState b;
};

// Where the layers of a comparison get their inputs from.
struct LayerInputs {
  // If set, it makes what both sides read in each layer and in the last norm (seeded_state.h), so
  // that a difference in one layer does not reach the next. The comparison is then layer by layer.
  std::optional<uint64_t> seed = {};
  // If set, they give the states before the first layer, which otherwise the embedding makes, and
  // take those behind the last one.
  std::function<LayerStates()> receive = {};
  std::function<void(const LayerStates&)> send = {};
  // If set, it is called after each layer; what it throws ends the comparison.
  std::function<void()> check = {};
};

// ids: [B, S]. Both passes advance side by side, so that memory holds only the states of one layer
// of each, and a tensor that both read is read once. Errors: kBadInput if a token is not in the
// vocabulary.
ForwardVerdict compare_forward(PairedWeights& pair, const Compute& compute, const at::Tensor& ids,
                               const std::optional<LayerRange>& layers = {},
                               const LayerInputs& inputs = {});

}  // namespace models
