// deinterleave: the last axis of W has an element of each of `groups` sequences in turn, as
// [a_0, b_0, a_1, b_1, ...]. M has one sequence after the other, [a_0, a_1, ..., b_0, b_1, ...].
// Truth: transformers' modeling_gpt_oss.py (gate_up[..., ::2]); megatron/core/transformer/mlp.py
// (fc1 = [gate; up]).
#include <fmt/format.h>

#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t groups = operands.numbers.groups;
  const int64_t last = part.empty() ? 0 : part.back();
  if (groups > 0 && last > 0 && last % groups == 0) return std::nullopt;
  return fmt::format("{} elements do not divide into {} sequences", last, groups);
}

BlockLayout layout(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t groups = operands.numbers.groups;
  return Permutation{.axes = {leading_elements(part, 1), part.back() / groups, groups},
                     .order = {0, 2, 1}};
}

}  // namespace

namespace ops {

constinit const Op kDeinterleave = {.name = "deinterleave",
                                    .numbers = {&OpNumbers::groups},
                                    .takes_quantized = false,
                                    .misfit = misfit,
                                    .layout = layout};

}  // namespace ops
}  // namespace mappings
