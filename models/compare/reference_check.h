// Checks a forward pass against recorded logits.
//
//   difference   the largest |ours - reference| over all judged rows or, in BF16, the lower
//                quartile of the rows' mean differences
//   allowed      as models/compare/tolerance.h defines it, from the reference's standard deviation
// Logits are compared as they are made, one block of the vocabulary at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/compare/reference_logits.h"
#include "models/weights/weights.h"

namespace models {

struct Difference {
  std::string name;    // "logits", "mtp_logits.0", "hidden.3"
  double largest = 0;  // NaN if a value of either is NaN
  double judged = 0;   // judged_difference(), which must not exceed `allowed`
  double allowed = 0;
  int64_t rows = 0;   // judged rows of all sequences
  int64_t top1 = -1;  // rows with the same best token; -1 for hidden states

  bool passes() const { return judged <= allowed; }
};

// The hidden states that the reference has, then the heads, in the order of the pass. Errors:
// kBadInput if reference and model do not fit each other.
std::vector<Difference> check_against(Weights& weights, const Compute& compute,
                                      const ReferenceLogits& reference);

}  // namespace models
