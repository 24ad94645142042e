// fused_qkv: W = [Q; K; V], where a head of each has the same number of rows: Q is `heads` heads, K
// and V are `groups` heads. M has for each group g [Q_g; K_g; V_g], as for qkv, with row ranges of
// one tensor in place of three. It serves weights and biases alike.
// Truth: transformers' modeling_phi3.py (how qkv is cut); megatron/core/transformer/attention.py.
#include <fmt/format.h>

#include "mappings/op/ops.h"
#include "mappings/op/rows.h"

namespace mappings {
namespace {

// The heads of Q, K and V.
int64_t all_heads(const OpNumbers& numbers) {
  return bridge::checked_add(numbers.heads, bridge::checked_mul(numbers.groups, 2, "heads"),
                             "heads");
}

Misfit misfit(const Operands& operands) {
  const OpNumbers& numbers = operands.numbers;
  if (numbers.groups <= 0) return fmt::format("{} query groups", numbers.groups);
  if (Misfit misfit = heads_misfit(numbers)) return misfit;
  const int64_t rows = rows_of(operands.parts[0]);
  const int64_t heads = all_heads(numbers);
  if (rows > 0 && rows % heads == 0) return std::nullopt;
  return fmt::format("{} rows are not {} heads of queries, {} of keys and {} of values", rows,
                     numbers.heads, numbers.groups, numbers.groups);
}

BlockLayout layout(const Operands& operands) {
  const int64_t heads = operands.numbers.heads;
  const int64_t groups = operands.numbers.groups;
  const int64_t head = bridge::element_count(operands.parts[0]) / all_heads(operands.numbers);
  Strands layout{.repeats = groups};
  int64_t begin = 0;
  for (const int64_t count : {heads, groups, groups}) {
    const int64_t in_group = count / groups * head;
    layout.strands.push_back(
        {.part = layout.ranges.size(), .length = in_group, .stride = in_group});
    layout.ranges.push_back({.part = 0, .begin = begin, .length = count * head});
    begin += count * head;
  }
  return layout;
}

}  // namespace

namespace ops {

constinit const Op kFusedQkv = {.name = "fused_qkv",
                                .ranks = Ranks::kMatrixOrVector,
                                .numbers = {&OpNumbers::groups, &OpNumbers::heads},
                                .misfit = misfit,
                                .layout = layout};

}  // namespace ops
}  // namespace mappings
