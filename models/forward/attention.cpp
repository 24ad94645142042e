#include "models/forward/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/query_blocks.h"
#include "models/forward/soft_cap.h"

namespace models {
namespace {

at::Tensor dispatch(const GroupedAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return grouped_attention(config, norm, weights, x, state);
}

at::Tensor dispatch(const LatentAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return latent_attention(config, norm, weights, x, state);
}

at::Tensor dispatch(const CompressedAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  return compressed_attention(config, norm, weights, x, state);
}

at::Tensor dispatch(const DeltaAttention& config, const NormConfig& norm,
                    const SectionWeights& weights, const at::Tensor& x, ForwardState&) {
  return delta_attention(config, norm, weights, x);
}

at::Tensor dispatch(const Mamba2& config, const NormConfig&, const SectionWeights& weights,
                    const at::Tensor& x, ForwardState& state) {
  return mamba2_mixer(config, weights, x, state.limited_steps);
}

at::Tensor dispatch(const NoAttention&, const NormConfig&, const SectionWeights&, const at::Tensor&,
                    ForwardState&) {
  bridge::internal_error("attention of a layer that has none");
}

// The softmax over the keys of scores, [B, G, t, S, K]. sink: undefined, or [G, t].
at::Tensor softmax_of(const at::Tensor& scores, const at::Tensor& sink) {
  if (!sink.defined()) return scores.softmax(-1, at::kFloat);
  const at::Tensor column = sink.unsqueeze(-1).unsqueeze(-1).to(scores.scalar_type());
  const at::Tensor all =
      at::cat({scores, column.expand({scores.size(0), -1, -1, scores.size(3), -1})}, -1);
  return all.softmax(-1, at::kFloat).narrow(-1, 0, scores.size(-1));
}

// q: [B, G, t, S, dk], the t queries of each key/value head; k, v: [B, G, S, dk or dv]; sink:
// undefined, or [G, t]. Gives [B, G, t, S, dv].
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                  int64_t window, double cap, const at::Tensor& sink) {
  const int64_t times = q.size(2);
  std::vector<at::Tensor> sums;
  for (const QueryBlock& block :
       query_blocks(q.size(3), window, q.size(0) * q.size(1) * times, sink.defined() ? 1 : 0)) {
    const at::Tensor queries = block.queries_of(q, 3).flatten(2, 3);
    const at::Tensor hidden = visible_keys(block, window, q.device()).logical_not_();
    const at::Tensor products = queries.matmul(block.keys_of(k, 2).transpose(2, 3)).mul_(scale);
    const at::Tensor scores = soft_cap(products, cap)
                                  .unflatten(2, {times, -1})
                                  .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
    const at::Tensor weights = softmax_of(scores, sink).to(q.scalar_type()).flatten(2, 3);
    sums.push_back(weights.matmul(block.keys_of(v, 2)).unflatten(2, {times, -1}));
  }
  return joined_blocks(sums, 3);
}

}  // namespace

at::Tensor attention(const AttentionConfig& config, const NormConfig& norm,
                     const SectionWeights& weights, const at::Tensor& x, ForwardState& state) {
  const auto of = [&](const at::Tensor& tokens) {
    return std::visit(
        [&](const auto& kind) { return dispatch(kind, norm, weights, tokens, state); }, config);
  };
  if (state.offsets.empty()) return of(x);
  std::vector<at::Tensor> sequences;
  for (size_t i = 1; i < state.offsets.size(); ++i) {
    const int64_t first = state.offsets[i - 1];
    const int64_t count = state.offsets[i] - first;
    if (count == 0) continue;
    state.tokens = {first, count};
    sequences.push_back(of(x.narrow(1, first, count)));
  }
  state.tokens.reset();
  return joined_blocks(sequences, 1);
}

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);
}

at::Tensor join_heads(const at::Tensor& x) {
  return x.transpose(1, 2).flatten(2);
}

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, int64_t window, double cap, const at::Tensor& sink) {
  const int64_t groups = k.size(1);
  const at::Tensor sinks = sink.defined() ? sink.unflatten(0, {groups, -1}) : sink;
  const at::Tensor by_group = q.unflatten(1, {groups, -1});
  const at::Tensor keys = k.contiguous();
  const at::Tensor values = v.contiguous();
  // Short prompts take all heads at once. Long ones take one key/value head after the other, so
  // that blocks have many queries.
  const int64_t scores_a_group = q.size(0) * by_group.size(2) * q.size(2) * q.size(2);
  const int64_t step = std::clamp<int64_t>(kMostScores / scores_a_group, 1, groups);
  std::vector<at::Tensor> heads;
  for (int64_t group = 0; group < groups; group += step) {
    const int64_t count = std::min(step, groups - group);
    heads.push_back(attend(by_group.narrow(1, group, count), keys.narrow(1, group, count),
                           values.narrow(1, group, count), scale, window, cap,
                           sinks.defined() ? sinks.narrow(0, group, count) : sinks)
                        .flatten(1, 2));
  }
  return joined_blocks(heads, 1);
}

at::Tensor core_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          double scale, int64_t window, double cap, const at::Tensor& sink,
                          ForwardState& state) {
  const auto part = [scale, window, cap](ForwardState&, const std::vector<at::Tensor>& given) {
    return std::vector<at::Tensor>{causal_attention(given[0], given[1], given[2], scale, window,
                                                    cap,
                                                    given.size() > 3 ? given[3] : at::Tensor())};
  };
  std::vector<at::Tensor> arguments = {q, k, v};
  if (sink.defined()) arguments.push_back(sink);
  return run_part(state.recomputed.core_attention, "core_attn", part, arguments, state)[0];
}

}  // namespace models
