// The forward pass of two views of what should be one model: every state between layers, and every head's logits. Finds
// settings that no tensor shows; tensor_comparison.h finds what a prompt does not touch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/forward/forward.h"
#include "models/weights/weights.h"

namespace models {

struct StateDifference {
  std::string name;  // "hidden.3", "logits", "mtp_logits.0"
  bool identical = true;
  double largest = 0;
  double mean = 0;
  double judged = 0;   // what is held against `allowed`: judged_difference()
  double allowed = 0;  // tolerance * max(1, standard deviation of a's)
};

struct HeadDifference : StateDifference {
  int64_t rows = 0;
  int64_t top1 = 0;  // rows with the same best token
  int64_t top5 = 0;  // rows with the same five best tokens, in any order
  double divergence =
      0;  // of b's distribution from a's (Kullback-Leibler), mean over rows, in nats
};

struct ForwardVerdict {
  std::string not_comparable;           // why nothing was run; else empty
  std::vector<StateDifference> states;  // in the order of the pass
  std::vector<HeadDifference> heads;    // none where only some layers were run
  Coverage coverage;                    // of a's weights
  double seconds = 0;                   // whoever measures it says
};

// ids: [B, S]. Both passes go side by side, so that a layer of each and its states are in memory. Errors: kBadInput where a token is not in the vocabulary.
ForwardVerdict compare_forward(Weights& a, Weights& b, const Compute& compute,
                               const at::Tensor& ids, const std::optional<LayerRange>& layers = {});

}  // namespace models
