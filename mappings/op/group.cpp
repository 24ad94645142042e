// group: W = [A; B; ...] consists of equal blocks, and each block of equal groups. M has for each
// group g [A_g; B_g; ...]. This turns queries, keys and values in one tensor into Megatron's order
// by query group.
#include <fmt/format.h>

#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const int64_t groups = operands.numbers.groups;
  const int64_t blocks = operands.numbers.blocks;
  const int64_t rows = rows_of(operands.parts[0]);
  const bool positive = groups > 0 && blocks > 0 && rows > 0;
  if (positive && rows % bridge::checked_mul(groups, blocks, "groups") == 0) return std::nullopt;
  return fmt::format("{} rows do not divide into {} blocks of {} groups", rows, blocks, groups);
}

BlockLayout layout(const Operands& operands) {
  return Permutation{.axes = {operands.numbers.blocks, operands.numbers.groups}, .order = {1, 0}};
}

}  // namespace

namespace ops {

constinit const Op kGroup = {.name = "group",
                             .numbers = {&OpNumbers::groups, &OpNumbers::blocks},
                             .misfit = misfit,
                             .layout = layout};

}  // namespace ops
}  // namespace mappings
