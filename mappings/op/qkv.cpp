// qkv: for g in groups: [Q_g; K_g; V_g], where X_g are the rows of X that query group g has. Weights and biases alike.
// Truth: megatron/core/transformer/attention.py (how mixed_qkv is split).
#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

BlockLayout layout(const Operands& operands) {
  return rows_by_group(operands, operands.numbers.groups);
}

}  // namespace

namespace ops {

constinit const Op kQkv = {.name = "qkv",
                           .least_parts = 3,
                           .most_parts = 3,
                           .ranks = Ranks::kMatrixOrVector,
                           .numbers = {&OpNumbers::groups},
                           .misfit = query_groups_misfit,
                           .megatron_shape = joined_shape,
                           .layout = layout};

}  // namespace ops
}  // namespace mappings
