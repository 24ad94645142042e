// Two views of what should be one model: configurations, and every canonical tensor. With the forward pass
// (forward_comparison.h) these are three verdicts; each finds what the others cannot: tensors that a prompt does not
// touch, settings that no tensor shows, and a canonical tensor that both views would read wrongly.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/compare/rounding.h"
#include "models/forward/forward.h"
#include "models/weights/weights.h"

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
  // Those that differ by one rounding only (models/compare/rounding.h), and how the sides' tensors are rounded.
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

}  // namespace models
