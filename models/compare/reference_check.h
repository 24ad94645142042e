// A forward pass against recorded logits.
//
//   difference = largest |ours - reference| over all judged rows, or, in BF16, the lower quartile of theirs; allowed: as
//   models/compare/tolerance.h says, by the standard deviation of the reference
// Logits are compared by blocks of the vocabulary, as they are made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/compare/reference_logits.h"
#include "models/weights/weights.h"

namespace models {

struct Difference {
  std::string name;    // "logits", "mtp_logits.0", "hidden.3"
  double largest = 0;  // not a number where ours or the reference's is none
  double judged = 0;   // what is held against `allowed`: judged_difference()
  double allowed = 0;
  int64_t rows = 0;   // judged, of all sequences
  int64_t top1 = -1;  // rows with the same best token; -1: not logits

  bool passes() const { return judged <= allowed; }
};

// Hidden states that the reference has, then the heads, in the order of the pass. Errors: kBadInput where reference and model
// do not fit each other.
std::vector<Difference> check_against(Weights& weights, const Compute& compute,
                                      const ReferenceLogits& reference);

}  // namespace models
