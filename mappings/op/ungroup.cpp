// ungroup: W = for g in groups: [A_g; B_g; ...]; M = [A_0; A_1; ...; B_0; B_1; ...]. The rows of A, B, ... are those of the
// parts of `split`, as which they lie apart on the Megatron side.
// Truth: transformers' modeling_qwen3_next.py (fix_query_key_value_ordering takes the same groups apart).
#include <fmt/format.h>

#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const int64_t groups = operands.numbers.groups;
  const int64_t rows = rows_of(operands.parts[0]);
  if (groups <= 0) return fmt::format("{} groups", groups);
  if (rows == 0) return "no rows to take apart";
  return split_misfit(operands.numbers.split, rows, groups);
}

BlockLayout layout(const Operands& operands) {
  const int64_t groups = operands.numbers.groups;
  const int64_t elements = bridge::element_count(operands.parts[0]);
  const int64_t width = elements / rows_of(operands.parts[0]);
  Strands layout;
  int64_t taken = 0;  // elements of a group
  for (const SplitPart& part : operands.numbers.split) {
    const int64_t length = part.rows / groups * width;
    layout.strands.push_back(
        {.from = taken, .length = length, .count = groups, .stride = elements / groups});
    taken += length;
  }
  return layout;
}

}  // namespace

namespace ops {

constinit const Op kUngroup = {.name = "ungroup",
                               .numbers = {&OpNumbers::groups},
                               .needs_split_rows = true,
                               .misfit = misfit,
                               .layout = layout};

}  // namespace ops
}  // namespace mappings
