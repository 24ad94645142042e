// transpose: M = W with its last two axes exchanged; the axes before them stack matrices.
// Truth: transformers' modeling_gpt_oss.py (x @ down_proj[expert]); a linear of Megatron-Core is
// [out, in].
#include <fmt/format.h>

#include "bridge/io/number/dtype.h"
#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  if (part.size() >= 2) return std::nullopt;
  return fmt::format("{} has no two axes to exchange", bridge::shape_text(part));
}

BlockLayout layout(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  return Permutation{.axes = {leading_elements(part, 2), part.end()[-2], part.end()[-1]},
                     .order = {0, 2, 1}};
}

}  // namespace

namespace ops {

constinit const Op kTranspose = {.name = "transpose",
                                 .takes_quantized = false,
                                 .misfit = misfit,
                                 .megatron_shape = transposed_shape,
                                 .layout = layout};

}  // namespace ops
}  // namespace mappings
