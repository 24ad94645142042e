// columns: M = [W[:, 0:c]; W[:, c:2c]; ...] for `groups` blocks of c columns. For example, a
// projection of both the embedding and the hidden state has one block for each.
#include <fmt/format.h>

#include "bridge/io/number/dtype.h"
#include "mappings/op/ops.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t blocks = operands.numbers.groups;
  if (part.size() != 2) return fmt::format("{} is not a matrix", bridge::shape_text(part));
  if (blocks > 0 && part[1] % blocks == 0) return std::nullopt;
  return fmt::format("{} columns do not divide into {} blocks", part[1], blocks);
}

bridge::Shape megatron_shape(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  const int64_t blocks = operands.numbers.groups;
  return {bridge::checked_mul(part[0], blocks, "rows"), part[1] / blocks};
}

BlockLayout layout(const Operands& operands) {
  return Permutation{.axes = {operands.parts[0][0], operands.numbers.groups}, .order = {1, 0}};
}

}  // namespace

namespace ops {

constinit const Op kColumns = {.name = "columns",
                               .ranks = Ranks::kMatrix,
                               .numbers = {&OpNumbers::groups},
                               .misfit = misfit,
                               .megatron_shape = megatron_shape,
                               .layout = layout};

}  // namespace ops
}  // namespace mappings
