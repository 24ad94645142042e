// Compressed attention (a prompt shorter than `ratio` tokens has no summaries):
//   1. latent = norm(Wdown x); q = Wup latent, each head divided by its root mean square;
//      kv = norm(Wkv x), one head for all
//   2. the last rope_dim channels of each are turned by position, in pairs
//   3. summaries of tokens (models/forward/summary.h) come from a projection of their own; they are
//      normed and turned by the position of the run's first token. If there is an index, it is
//      built the same way with fewer channels and chooses among them
//   4. softmax over the keys of the last `window` tokens, the summaries and the head's own score
//      (sink), which takes weight and adds nothing; the keys are also the values; scale
//      1 / sqrt(head_dim)
//   5. the values were turned, so the last channels of the sum are turned back by the token's
//      position
//   6. out = Wo_b [Wo_a,g o_g of each group g of neighbouring heads]
// Truth: DeepSeek-V4 inference/model.py (Attention); transformers' modeling_deepseek_v4.py.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "models/forward/attention.h"
#include "models/forward/index_scores.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"
#include "models/forward/query_blocks.h"
#include "models/forward/summary.h"

namespace models {
namespace {

// The roles of one projection to summaries.
struct SummaryRoles {
  Role value;
  Role gate;
  Role place_bias;
  Role norm;
};

constexpr SummaryRoles kKeys = {Role::kSummaryValue, Role::kSummaryGate, Role::kSummaryPlace,
                                Role::kSummaryNorm};
constexpr SummaryRoles kIndexKeys = {Role::kIndexValue, Role::kIndexGate, Role::kIndexPlace,
                                     Role::kIndexNorm};

class Layer {
 public:
  Layer(const CompressedAttention& config, const NormConfig& norm, const SectionWeights& weights,
        const at::Tensor& x, ForwardState& state)
      : config_(config),
        norm_(norm),
        weights_(weights),
        x_(x),
        state_(state),
        table_(state.rotary(config.rotary)) {}

  at::Tensor run() const {
    const at::Tensor latent =
        rms_norm(linear(x_, weights_, Role::kQDown), weights_.get_f32(Role::kQDownNorm), norm_);
    const at::Tensor q =
        rms_unit(split_heads(linear(latent, weights_, Role::kQUp), config_.heads), norm_.eps);
    const at::Tensor sum = attend(turned(q, table_), summary_index(latent));
    return output(join_heads(turned(sum, {table_.cos, table_.sin.neg()})));
  }

 private:
  // x: [..., positions, d]
  at::Tensor turned(const at::Tensor& x, const RotaryTable& table) const {
    const int64_t kept = x.size(-1) - config_.rope_dim;
    return at::cat({x.narrow(-1, 0, kept),
                    rotate(x.narrow(-1, kept, config_.rope_dim), config_.rotary, table)},
                   -1);
  }

  int64_t tokens() const { return x_.size(1); }
  bool has_summaries() const { return config_.ratio > 0 && tokens() >= config_.ratio; }

  // The index that chooses among the summaries; its members are undefined if there is none.
  struct SummaryIndex {
    at::Tensor q;        // [B, S, index heads, d]
    at::Tensor keys;     // [B, W, d]
    at::Tensor weights;  // [B, S, index heads]
  };

  // q: [B, H, S, d], turned. Gives each query's weighted sum over the keys.
  at::Tensor attend(const at::Tensor& q, const SummaryIndex& index) const {
    const at::Tensor kv = turned(
        rms_norm(linear(x_, weights_, Role::kKv), weights_.get_f32(Role::kKvNorm), norm_), table_);
    const at::Tensor summaries = has_summaries() ? summaries_of(kKeys) : kv.narrow(1, 0, 0);
    const at::Tensor sink = weights_.get_f32(Role::kSink);
    const double scale = 1 / std::sqrt(static_cast<double>(config_.head_dim));
    const int64_t heads = x_.size(0) * std::max(config_.heads, config_.index_heads);
    std::vector<at::Tensor> sums;
    for (const QueryBlock& block :
         query_blocks(tokens(), config_.window, heads, summaries.size(1))) {
      at::Tensor keys = block.keys_of(kv, 1);
      at::Tensor visible = visible_keys(block, config_.window, x_.device())
                               .unsqueeze(0)
                               .expand({x_.size(0), -1, -1});
      if (has_summaries()) {
        keys = at::cat({keys, summaries.narrow(1, 0, block.last / config_.ratio)}, 1);
        visible = at::cat({visible, visible_summaries(block, index)}, -1);
      }
      const auto part = [scale](ForwardState&, const std::vector<at::Tensor>& given) {
        return std::vector<at::Tensor>{
            sink_attention(given[0], given[1], given[2], given[3], scale)};
      };
      sums.push_back(run_part(state_.recomputed.core_attention, "core_attn", part,
                              {block.queries_of(q, 2), keys.unsqueeze(1), visible, sink},
                              state_)[0]);
    }
    return joined_blocks(sums, 2);
  }

  // [B, W, d]
  at::Tensor summaries_of(const SummaryRoles& roles) const {
    const at::Tensor plain =
        summaries(linear(x_, weights_, roles.value), linear(x_, weights_, roles.gate),
                  weights_.get_f32(roles.place_bias), config_.overlapping);
    const at::Tensor positions =
        at::arange(plain.size(1), x_.options().dtype(at::kLong)) * config_.ratio;
    return turned(rms_norm(plain, weights_.get_f32(roles.norm), norm_),
                  {table_.cos.index_select(0, positions), table_.sin.index_select(0, positions)});
  }

  // The index only chooses: no gradient passes through it.
  SummaryIndex summary_index(const at::Tensor& latent) const {
    if (config_.index_heads == 0 || !has_summaries()) return {};
    const c10::NoGradGuard no_gradient;
    const at::Tensor q =
        turned(split_heads(linear(latent, weights_, Role::kIndexQ), config_.index_heads), table_);
    return {q.transpose(1, 2), summaries_of(kIndexKeys), linear(x_, weights_, Role::kIndexWeights)};
  }

  // Bool [B, queries of the block, summaries that the last query sees].
  at::Tensor visible_summaries(const QueryBlock& block, const SummaryIndex& index) const {
    const at::Tensor finished =
        finished_summaries(block.first, block.last, config_.ratio, x_.device());
    if (config_.index_heads == 0) return finished.unsqueeze(0).expand({x_.size(0), -1, -1});
    const at::Tensor scores = index_scores(block.queries_of(index.q, 1),
                                           index.keys.narrow(1, 0, block.last / config_.ratio),
                                           block.queries_of(index.weights, 1));
    return best_scored(scores, finished, config_.index_chosen);
  }

  // heads: [B, S, heads * head_dim]
  at::Tensor output(const at::Tensor& heads) const {
    const at::Tensor grouped = heads.unflatten(-1, {config_.output_groups, 1, -1});
    const at::Tensor weight =
        weights_.get(Role::kODown).unflatten(0, {config_.output_groups, -1}).transpose(1, 2);
    return linear(grouped.matmul(weight).flatten(2), weights_, Role::kOUp);
  }

  const CompressedAttention& config_;
  const NormConfig& norm_;
  const SectionWeights& weights_;
  const at::Tensor& x_;
  ForwardState& state_;
  RotaryTable table_;  // of the tokens of x_
};

}  // namespace

at::Tensor sink_attention(const at::Tensor& q, const at::Tensor& kv, const at::Tensor& visible,
                          const at::Tensor& sink, double scale) {
  // All heads have the same keys, so one product is enough.
  const at::Tensor scores = q.flatten(1, 2)
                                .matmul(kv.squeeze(1).transpose(1, 2))
                                .mul_(scale)
                                .unflatten(1, {q.size(1), -1})
                                .to(at::kFloat)
                                .masked_fill_(visible.unsqueeze(1).logical_not(),
                                              -std::numeric_limits<float>::infinity());
  const at::Tensor own = sink.view({1, -1, 1, 1}).expand({scores.size(0), -1, scores.size(2), 1});
  const at::Tensor weights = at::cat({scores, own}, -1).softmax(-1);
  return weights.narrow(-1, 0, kv.size(2))
      .to(q.scalar_type())
      .flatten(1, 2)
      .matmul(kv.squeeze(1))
      .unflatten(1, {q.size(1), -1});
}

at::Tensor compressed_attention(const CompressedAttention& config, const NormConfig& norm,
                                const SectionWeights& weights, const at::Tensor& x,
                                ForwardState& state) {
  return Layer(config, norm, weights, x, state).run();
}

}  // namespace models
