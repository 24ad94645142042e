#include "models/forward/token_index.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/layer_norm.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/attention.h"
#include "models/forward/index_scores.h"
#include "models/forward/linear.h"
#include "models/forward/query_blocks.h"

namespace models {
namespace {

IndexedTokens own_index(const LatentAttention& config, const SectionWeights& weights,
                        const at::Tensor& x, const at::Tensor& latent, ForwardState& state) {
  RotaryConfig rotary = config.rotary;
  rotary.layout = config.index.layout;
  const RotaryTable table = state.rotary(rotary);
  const auto turned = [&](const at::Tensor& part) { return rotate(part, rotary, table); };
  const at::Tensor q =
      turned(split_heads(linear(latent, weights, Role::kIndexQ), config.index.heads));
  const at::Tensor normed =
      at::layer_norm(linear(x, weights, Role::kIndexKey).to(at::kFloat), {config.index.dim},
                     weights.get_f32(Role::kIndexKeyNorm), weights.get_f32(Role::kIndexKeyNormBias),
                     config.index.eps);
  return {q.transpose(1, 2), turned(normed.to(x.scalar_type())),
          linear(x.to(at::kFloat), weights.get_f32(Role::kIndexWeights))};
}

// Bool [B, queries of the block, keys of the block].
at::Tensor chosen_tokens(const IndexedTokens& index, const QueryBlock& block, int64_t chosen) {
  const at::Tensor keys = block.keys_of(index.keys, 1);
  const at::Tensor scores =
      index_scores(block.queries_of(index.q, 1), keys, block.queries_of(index.weights, 1));
  // Rows as wide as the prompt, so that equal scores are chosen from as without blocks.
  const int64_t unseen = index.keys.size(1) - block.last;
  const auto widened = [&](const at::Tensor& row) {
    return unseen == 0 ? row : at::constant_pad_nd(row, {0, unseen}, 0);
  };
  return best_scored(widened(scores), widened(visible_keys(block, 0, keys.device())), chosen)
      .narrow(-1, 0, block.keys());
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                  const IndexedTokens& index, int64_t chosen) {
  const int64_t heads = q.size(0) * std::max(q.size(1), index.q.size(2));
  std::vector<at::Tensor> sums;
  for (const QueryBlock& block : query_blocks(q.size(2), 0, heads)) {
    const at::Tensor hidden = chosen_tokens(index, block, chosen).logical_not_().unsqueeze(1);
    const at::Tensor scores = block.queries_of(q, 2)
                                  .matmul(block.keys_of(k, 2).transpose(2, 3))
                                  .mul_(scale)
                                  .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
    const at::Tensor weights = scores.softmax(-1, at::kFloat).to(q.scalar_type());
    sums.push_back(weights.matmul(block.keys_of(v, 2)));
  }
  return joined_blocks(sums, 2);
}

}  // namespace

IndexedTokens indexed_tokens(const LatentAttention& config, const SectionWeights& weights,
                             const at::Tensor& x, const at::Tensor& latent, ForwardState& state) {
  const int64_t sequence = state.tokens ? state.tokens->first : 0;
  if (!config.index.shared) {
    const c10::NoGradGuard no_gradient;
    return state.indices[sequence] = own_index(config, weights, x, latent, state);
  }
  const auto found = state.indices.find(sequence);
  if (found == state.indices.end()) {
    bridge::unsupported("a layer shares the index of one before it that is not run: run that too");
  }
  return found->second;
}

at::Tensor chosen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, const IndexedTokens& index, int64_t chosen,
                            ForwardState& state) {
  const auto part = [scale, index, chosen](ForwardState&, const std::vector<at::Tensor>& given) {
    return std::vector<at::Tensor>{attend(given[0], given[1], given[2], scale, index, chosen)};
  };
  return run_part(state.recomputed.core_attention, "core_attn", part, {q, k, v}, state)[0];
}

}  // namespace models
