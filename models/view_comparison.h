// Two views of what should be one model: configurations, every canonical tensor, and the forward pass. Three verdicts; each
// finds what the others cannot: tensors that a prompt does not touch, settings that no tensor shows, and a canonical
// tensor that both views would read wrongly.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/forward.h"
#include "models/rounding.h"
#include "models/weights.h"

namespace models {

// A field of the canonical description; empty where a side has none.
struct FieldDifference {
  std::string field;
  std::string a;
  std::string b;
};

// layers: only these, and what is no layer's; nullopt: everything.
std::vector<FieldDifference> compare_configurations(const ModelConfig& a, const ModelConfig& b,
                                                    const std::optional<LayerRange>& layers = {});

struct TensorDifference {
  std::string name;
  std::string
      what;  // "12 of 4096 values differ, by 0.5 at most", "[8, 4] and [4, 8]", "only in one"
};

struct TensorVerdict {
  int64_t compared = 0;
  double seconds = 0;  // whoever measures it says
  std::vector<TensorDifference> differences;
  // Those that differ by one rounding only (models/rounding.h), and how the sides' tensors are rounded.
  std::vector<TensorDifference> rounded;
  Roundings rounded_a;
  Roundings rounded_b;
  // That explain some of them, as permuted_experts() says it.
  std::vector<std::string> permutations;
};

// Streams all of both, a block of rows at a time. Values are compared as fp32 bits: a checkpoint may hold BF16 and the other
// the same values in fp32. Tensors that a side holds twice are compared with each other too. layers: the tensors of these
// only. types: what the conversion may have rounded tensors to; another rounding is a difference.
TensorVerdict compare_tensors(Weights& a, Weights& b, const std::optional<LayerRange>& layers = {},
                              const RoundedTypes& types = kAnyRoundedType);

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
