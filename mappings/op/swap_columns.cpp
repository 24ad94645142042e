// swap_columns: M = [W[:, h:], W[:, :h]], where h is half of the columns. It serves a projection of
// two vectors that the two sides join in another order.
// Truth: MiMo's modeling_mimo.py (input_proj of [hidden, embedding]);
// megatron/core/transformer/multi_token_prediction.py (eh_proj of [embedding, hidden]).
#include <fmt/format.h>

#include "bridge/io/number/dtype.h"
#include "mappings/op/ops.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  const bridge::Shape& part = operands.parts[0];
  if (part.size() == 2 && part[0] > 0 && part[1] > 0 && part[1] % 2 == 0) return std::nullopt;
  return fmt::format("{} is not a matrix with two halves of columns", bridge::shape_text(part));
}

BlockLayout layout(const Operands& operands) {
  const int64_t columns = operands.parts[0][1];
  const Strand left{.length = columns / 2, .stride = columns};
  Strand right = left;
  right.from = columns / 2;
  return Strands{.repeats = operands.parts[0][0], .strands = {right, left}};
}

}  // namespace

namespace ops {

constinit const Op kSwapColumns = {
    .name = "swap_columns", .ranks = Ranks::kMatrix, .misfit = misfit, .layout = layout};

}  // namespace ops
}  // namespace mappings
