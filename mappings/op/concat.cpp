// concat: M = [W0; W1; ...] on axis 0, as [gate; up]. With numbers.groups > 0, which no row gives: for each of so many
// groups its rows of W0, then of W1, ... (GLU interleaving, which the Megatron side chooses).
// Truth: megatron/core/transformer/mlp.py (fc1 = [gate; up]), moe_mlp_glu_interleave_size.
#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

constexpr size_t kAnyNumber = static_cast<size_t>(-1);

Misfit misfit(const Operands& operands) {
  if (Misfit apart = join_misfit(operands)) return apart;
  const int64_t groups = operands.numbers.groups;
  return groups > 0 ? groups_misfit(operands, groups, "groups") : std::nullopt;
}

BlockLayout layout(const Operands& operands) {
  return rows_by_group(operands, std::max<int64_t>(operands.numbers.groups, 1));
}

}  // namespace

namespace ops {

constinit const Op kConcat = {.name = "concat",
                              .least_parts = 2,
                              .most_parts = kAnyNumber,
                              .takes_gated = true,
                              .misfit = misfit,
                              .megatron_shape = joined_shape,
                              .layout = layout};

}  // namespace ops
}  // namespace mappings
