// Finds experts that two checkpoints hold in different orders. Tensor by tensor every moved expert
// differs; one line reports the permutation instead.
//
//   1. An expert has four parts: its gate, up and down matrices and its row of the router (bias
//      included). Each part is identified by the SHA-256 of its values as fp32, so that memory
//      holds no more than one block of one tensor.
//   2. The largest set of parts that one order of the experts makes equal on both sides is reported
//      with that order, then the largest set of the remaining parts.
//   3. If a table gives the experts of a token, its numbers must name the same experts under the
//      new order.
// Experts with equal values keep their place where possible.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "models/weights/weights.h"

namespace models {

// The permutations of one layer (or multi-token prediction depth): "experts of layer 3 are
// permuted: 0->5, 5->0; the router's rows alike" means that expert 0 of the first is expert 5 of
// the second. Empty if no order explains anything.
std::vector<std::string> permuted_experts(Weights& a, Weights& b, Section section, int64_t index);

// The permutations of every layer that has experts or router rows among the tensors that differ.
// differing: the names of these tensors.
std::vector<std::string> permutations_among(Weights& a, Weights& b,
                                            const std::set<std::string>& differing);

}  // namespace models
