// Experts that two checkpoints hold in different orders. Tensor by tensor every one of them differs; what happened is said in a
// line.
//   1. an expert's gate, up, down and its row of the router (bias included) are known by the SHA-256 of their values as
//      fp32, so that no more than one block of one tensor is in memory
//   2. the largest set of these that is the same on both sides but for one order of the experts is named with it, then
//      the largest of the others
//   3. where a table gives the experts of a token, its numbers must say the same experts under the new order
// Experts with equal values keep their place where they can.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "models/weights/weights.h"

namespace models {

// Of a layer (or multi-token prediction depth) that both models have: "experts of layer 3 are permuted: 0->5, 5->0; the
// router's rows alike", expert 0 of the first is expert 5 of the second. Nothing where no order explains anything.
std::vector<std::string> permuted_experts(Weights& a, Weights& b, Section section, int64_t index);

// The same of every layer that has experts or rows of a router among the tensors that differ, by their names.
std::vector<std::string> permutations_among(Weights& a, Weights& b,
                                            const std::set<std::string>& differing);

}  // namespace models
