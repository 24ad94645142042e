// gated_qkv: Q has a query and a gate for each head, [q_0; z_0; q_1; z_1; ...]. M has for each
// group g the queries of its heads, then their gates, then K_g, V_g. A head has as many query rows
// as gate rows, and a key is as wide as a query.
// Truth: megatron/core/transformer/attention.py (attention_output_gate).
#include <fmt/format.h>

#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

Misfit misfit(const Operands& operands) {
  if (Misfit apart = query_groups_misfit(operands)) return apart;
  if (Misfit misfit = heads_misfit(operands.numbers)) return misfit;
  const int64_t groups = operands.numbers.groups;
  const int64_t heads = operands.numbers.heads;
  const int64_t rows = operands.parts[0][0];
  const int64_t key_rows = operands.parts[1][0];
  const int64_t halves = bridge::checked_mul(heads, 2, "heads");
  if (rows % halves != 0) {
    return fmt::format("{} rows are not a query and a gate for each of {} heads", rows, heads);
  }
  const int64_t head_dim = rows / halves;
  if (key_rows == head_dim * groups) return std::nullopt;
  return fmt::format("heads of {} rows in {} query groups need a key of {} rows, not {}", head_dim,
                     groups, head_dim * groups, key_rows);
}

BlockLayout layout(const Operands& operands) {
  Strands layout = rows_by_group(operands, operands.numbers.groups);
  const int64_t in_group = operands.numbers.heads / operands.numbers.groups;
  const int64_t head = layout.strands[0].length / in_group;
  const Strand queries{.length = head / 2, .count = in_group, .stride = head};
  Strand gates = queries;
  gates.from = head / 2;
  layout.strands[0] = queries;
  layout.strands.insert(layout.strands.begin() + 1, gates);
  return layout;
}

}  // namespace

namespace ops {

constinit const Op kGatedQkv = {.name = "gated_qkv",
                                .least_parts = 3,
                                .most_parts = 3,
                                .ranks = Ranks::kMatrixOrVector,
                                .numbers = {&OpNumbers::groups, &OpNumbers::heads},
                                .misfit = misfit,
                                .megatron_shape = joined_shape,
                                .layout = layout};

}  // namespace ops
}  // namespace mappings
