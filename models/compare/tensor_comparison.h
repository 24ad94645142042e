// Compares two views of what should be one model: their configurations and every canonical tensor.
// With the forward pass (forward_comparison.h) these are three verdicts. Each finds what the others
// cannot: tensors that a prompt does not touch, settings that no tensor shows, and a canonical
// tensor that both views would read wrongly.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "models/compare/rounding.h"
#include "models/forward/forward.h"
#include "models/weights/weights.h"

namespace models {

// A field of the canonical description; a or b is empty if that side does not have it.
struct FieldDifference {
  std::string field;
  std::string a;
  std::string b;
};

// layers: compares only these and the fields that belong to no layer, MTP depth or vision tower;
// nullopt: everything.
std::vector<FieldDifference> compare_configurations(const ModelConfig& a, const ModelConfig& b,
                                                    const std::optional<LayerRange>& layers = {});

struct TensorDifference {
  std::string name;
  // "12 of 4096 values differ, by 0.5 at most", "[8, 4] and [4, 8]", "only in the first".
  std::string what;
  // The largest difference of a value; not finite where that cannot be said: of tensors with other
  // shapes, of one that a side lacks, where a value is NaN or infinite.
  double largest = std::numeric_limits<double>::quiet_NaN();
};

struct TensorVerdict {
  int64_t compared = 0;
  double seconds = 0;  // set by the caller, which measures it
  std::vector<TensorDifference> differences;
  // The tensors that differ by one rounding only (models/compare/rounding.h), and the rounding that
  // turns each side's tensor into the other's.
  std::vector<TensorDifference> rounded;
  Roundings rounded_a;
  Roundings rounded_b;
  // The permutations that explain some of the differences, in the words of permuted_experts().
  std::vector<std::string> permutations;
};

// Streams all tensors of both, one block of rows at a time. Values are compared as fp32 bits,
// because one checkpoint may hold BF16 and the other the same values in fp32. Tensors that a side
// holds twice are also compared with each other. layers: compares only the tensors of these. types:
// what the conversion may have rounded tensors to; another rounding is a difference.
TensorVerdict compare_tensors(Weights& a, Weights& b, const std::optional<LayerRange>& layers = {},
                              const RoundedTypes& types = kAnyRoundedType);

}  // namespace models
