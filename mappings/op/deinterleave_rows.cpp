// deinterleave_rows: the rows of W belong to `groups` sequences in turn, as [a_0; b_0; a_1; b_1;
// ...]. M has one sequence after the other: [a_0; a_1; ...; b_0; b_1; ...]. The axes before the
// last two stack matrices.
// Truth: transformers' integrations/mxfp4.py, whose blocks are rows of the transposed gate_up_proj;
// megatron/core/transformer/mlp.py (fc1 = [gate; up]).
#include <fmt/format.h>

#include "bridge/io/number/dtype.h"
#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t groups = operands.numbers.groups;
  if (part.size() < 2) return fmt::format("{} has no rows", bridge::shape_text(part));
  const int64_t rows = part.end()[-2];
  if (groups > 0 && rows > 0 && rows % groups == 0) return std::nullopt;
  return fmt::format("{} rows do not divide into {} sequences", rows, groups);
}

BlockLayout layout(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t groups = operands.numbers.groups;
  return Permutation{.axes = {leading_elements(part, 2), part.end()[-2] / groups, groups},
                     .order = {0, 2, 1}};
}

}  // namespace

namespace ops {

constinit const Op kDeinterleaveRows = {.name = "deinterleave_rows",
                                        .numbers = {&OpNumbers::groups},
                                        .misfit = misfit,
                                        .layout = layout};

}  // namespace ops
}  // namespace mappings
