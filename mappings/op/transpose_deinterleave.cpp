// transpose_deinterleave: the columns of W belong to `groups` sequences in turn, as
// [a_0, b_0, a_1, b_1, ...]. M has them as rows, one sequence after the other: [a_0; a_1; ...; b_0;
// b_1; ...]. The axes before the last two stack matrices.
// Truth: transformers' modeling_gpt_oss.py (x @ gate_up_proj[expert], then gate_up[..., ::2]);
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
  if (part.size() < 2) return fmt::format("{} has no columns", bridge::shape_text(part));
  if (groups > 0 && part.back() > 0 && part.back() % groups == 0) return std::nullopt;
  return fmt::format("{} columns do not divide into {} sequences", part.back(), groups);
}

BlockLayout layout(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t groups = operands.numbers.groups;
  return Permutation{
      .axes = {leading_elements(part, 2), part.end()[-2], part.back() / groups, groups},
      .order = {0, 3, 2, 1}};
}

}  // namespace

namespace ops {

constinit const Op kTransposeDeinterleave = {.name = "transpose_deinterleave",
                                             .numbers = {&OpNumbers::groups},
                                             .takes_quantized = false,
                                             .misfit = misfit,
                                             .megatron_shape = transposed_shape,
                                             .layout = layout};

}  // namespace ops
}  // namespace mappings
