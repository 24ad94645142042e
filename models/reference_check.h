// A forward pass against recorded logits.
//
//   difference = largest |ours - reference| over all judged rows; allowed: 1e-4 * max(1, standard deviation of the
//   reference), which leaves room for another order of fp32 sums in as many layers, and none for a wrong weight
// Logits are compared by blocks of the vocabulary, as they are made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/reference_logits.h"
#include "models/weights.h"

namespace models {

struct Difference {
  std::string name;    // "logits", "mtp_logits.0", "hidden.3"
  double largest = 0;  // not a number where ours or the reference's is none
  double allowed = 0;
  int64_t rows = 0;   // judged, of all sequences
  int64_t top1 = -1;  // rows with the same best token; -1: not logits

  bool passes() const { return largest <= allowed; }
};

// Hidden states that the reference has, then the heads, in the order of the pass. Errors: kBadInput where reference and model
// do not fit each other.
std::vector<Difference> check_against(Weights& weights, const Compute& compute,
                                      const ReferenceLogits& reference);

}  // namespace models
