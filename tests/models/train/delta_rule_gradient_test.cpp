// Gradients of linear attention against a recurrence over tokens in float64, for packed sequences:
// no real implementation of it packs on a CPU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "models/forward/delta_rule.h"
#include "models/forward/sequences.h"

namespace models {
namespace {

constexpr int64_t kHeads = 2;
constexpr int64_t kKey = 4;
constexpr int64_t kValue = 3;

// q, k, v, decay, beta as [1, heads, S, ...].
using Inputs = std::vector<at::Tensor>;

at::Tensor made(std::vector<int64_t> shape, double start) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return ((at::arange(count, at::kDouble) * 7.31 + start).sin()).view(shape);
}

Inputs inputs(int64_t tokens, at::ScalarType type) {
  const Inputs exact = {
      unit_length(made({1, kHeads, tokens, kKey}, 0.1)),
      unit_length(made({1, kHeads, tokens, kKey}, 0.2)),
      made({1, kHeads, tokens, kValue}, 0.3),
      made({1, kHeads, tokens}, 0.4) * 0.05 - 0.06,
      made({1, kHeads, tokens}, 0.5).sigmoid(),
  };
  Inputs leaves;
  for (const at::Tensor& input : exact) {
    leaves.push_back(input.to(at::kFloat).to(type).set_requires_grad(true));
  }
  return leaves;
}

// The definition: the state S decays, is corrected towards v along k, and is read along q.
at::Tensor by_definition(const Inputs& in) {
  at::Tensor state = at::zeros({kHeads, kKey, kValue}, at::kDouble);
  std::vector<at::Tensor> out;
  for (int64_t t = 0; t < in[0].size(2); ++t) {
    const auto at_token = [&](size_t which) { return in[which].select(0, 0).select(1, t); };
    state = state * at_token(3).exp().view({kHeads, 1, 1});
    const at::Tensor key = at_token(1).unsqueeze(-1);  // [heads, key, 1]
    const at::Tensor read = (state * key).sum(1);      // [heads, value]
    const at::Tensor change = (at_token(2) - read) * at_token(4).unsqueeze(-1);
    state = state + key * change.unsqueeze(1);
    out.push_back((state * at_token(0).unsqueeze(-1)).sum(1));
  }
  return at::stack(out, 1).unsqueeze(0);
}

template <typename Rule>
at::Tensor by_sequence(const Inputs& in, const Offsets& offsets, const Rule& rule) {
  std::vector<at::Tensor> out;
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t count = offsets[i] - offsets[i - 1];
    if (count == 0) continue;
    Inputs here;
    for (const at::Tensor& input : in) here.push_back(input.narrow(2, offsets[i - 1], count));
    out.push_back(rule(here));
  }
  return at::cat(out, 2);
}

TEST(DeltaRuleGradients, OfPackedSequences) {
  const Offsets offsets = {0, 5, 5, 6, 71, 136};
  const Inputs exact = inputs(offsets.back(), at::kDouble);
  const Inputs ours = inputs(offsets.back(), at::kFloat);
  const at::Tensor expected = by_sequence(exact, offsets, by_definition);
  const at::Tensor found = by_sequence(ours, offsets, [](const Inputs& in) {
    return in[0].size(2) == 1 ? delta_rule_by_token(in[0], in[1], in[2], in[3], in[4])
                              : delta_rule_by_chunk(in[0], in[1], in[2], in[3], in[4], 64);
  });
  EXPECT_LT((found - expected).norm().item<double>(), 1e-5 * expected.norm().item<double>());
  const at::Tensor weights = made(expected.sizes().vec(), 0.6);
  (expected * weights).sum().backward();
  (found * weights.to(at::kFloat)).sum().backward();
  const char* names[] = {"q", "k", "v", "decay", "beta"};
  for (size_t i = 0; i < exact.size(); ++i) {
    const double size = exact[i].grad().norm().item<double>();
    EXPECT_GT(size, 1e-3) << names[i];
    EXPECT_LT((ours[i].grad() - exact[i].grad()).norm().item<double>(), 1e-4 * size) << names[i];
  }
}

// Without a reset at the ends of sequences, results and gradients are others.
TEST(DeltaRuleGradients, TheStateMustBeReset) {
  const Inputs exact = inputs(12, at::kDouble);
  const at::Tensor packed = by_sequence(exact, {0, 5, 12}, by_definition);
  const at::Tensor whole = by_sequence(exact, {0, 12}, by_definition);
  EXPECT_GT((packed - whole).norm().item<double>(), 1e-2);
}

}  // namespace
}  // namespace models
