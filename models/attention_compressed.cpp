// Compressed attention:
//   1. latent = norm(Wdown x); q = Wup latent, each head divided by its root mean square; kv = norm(Wkv x), one head for all
//   2. the last rope_dim channels of each turned by position, in pairs
//   3. summaries (models/summary.h) of tokens by a projection of their own, normed, turned by the position of the
//      run's first token; an index, where there is one, of the same make in small, chooses among them
//   4. softmax over the keys of the last `window` tokens, the summaries and one score of the head itself, which takes
//      weight and gives nothing (sink); the keys are the values, scale 1 / sqrt(head_dim)
//   5. the values were turned, so the sum's last channels are turned back by the token's position
//   6. out = Wo_b [Wo_a,g o_g of each group g of neighbouring heads]
// Truth: DeepSeek-V4 inference/model.py (Attention); transformers' modeling_deepseek_v4.py.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>

#include <cmath>
#include <limits>

#include "models/attention.h"
#include "models/linear.h"
#include "models/norm.h"
#include "models/summary.h"

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
        table_(state.rotary(config.rotary)) {}

  at::Tensor run() const {
    const at::Tensor latent =
        rms_norm(linear(x_, weights_.get(Role::kQDown)), weights_.get_f32(Role::kQDownNorm), norm_);
    const at::Tensor q =
        rms_unit(split_heads(linear(latent, weights_.get(Role::kQUp)), config_.heads), norm_.eps);
    at::Tensor kv = turned(
        rms_norm(linear(x_, weights_.get(Role::kKv)), weights_.get_f32(Role::kKvNorm), norm_),
        table_);
    at::Tensor visible = window();
    if (config_.ratio > 0) {
      kv = at::cat({kv, summaries_of(kKeys)}, 1);
      visible = at::cat({visible, visible_summaries(latent)}, -1);
    }
    const at::Tensor sum =
        sink_attention(turned(q, table_), kv.unsqueeze(1), visible, weights_.get_f32(Role::kSink),
                       1 / std::sqrt(static_cast<double>(config_.head_dim)));
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

  // [B, S, S]
  at::Tensor window() const {
    return at::ones({tokens(), tokens()}, x_.options().dtype(at::kBool))
        .tril()
        .triu(1 - config_.window)
        .unsqueeze(0)
        .expand({x_.size(0), -1, -1});
  }

  // [B, W, d]
  at::Tensor summaries_of(const SummaryRoles& roles) const {
    const at::Tensor plain =
        summaries(linear(x_, weights_.get(roles.value)), linear(x_, weights_.get(roles.gate)),
                  weights_.get_f32(roles.place_bias), config_.overlapping);
    const at::Tensor positions =
        at::arange(plain.size(1), x_.options().dtype(at::kLong)) * config_.ratio;
    return turned(rms_norm(plain, weights_.get_f32(roles.norm), norm_),
                  {table_.cos.index_select(0, positions), table_.sin.index_select(0, positions)});
  }

  // Bool [B, S, W]
  at::Tensor visible_summaries(const at::Tensor& latent) const {
    const at::Tensor finished = finished_summaries(tokens(), config_.ratio, x_.device());
    if (config_.index_heads == 0) return finished.unsqueeze(0).expand({x_.size(0), -1, -1});
    const at::Tensor q = turned(
        split_heads(linear(latent, weights_.get(Role::kIndexQ)), config_.index_heads), table_);
    const at::Tensor scores = index_scores(q.transpose(1, 2), summaries_of(kIndexKeys),
                                           linear(x_, weights_.get(Role::kIndexWeights)));
    return best_summaries(scores, finished, config_.index_chosen);
  }

  // heads: [B, S, heads * head_dim]
  at::Tensor output(const at::Tensor& heads) const {
    const at::Tensor grouped = heads.unflatten(-1, {config_.output_groups, 1, -1});
    const at::Tensor weight =
        weights_.get(Role::kODown).unflatten(0, {config_.output_groups, -1}).transpose(1, 2);
    return linear(grouped.matmul(weight).flatten(2), weights_.get(Role::kOUp));
  }

  const CompressedAttention& config_;
  const NormConfig& norm_;
  const SectionWeights& weights_;
  const at::Tensor& x_;
  const RotaryTable& table_;
};

}  // namespace

at::Tensor sink_attention(const at::Tensor& q, const at::Tensor& kv, const at::Tensor& visible,
                          const at::Tensor& sink, double scale) {
  const at::Tensor scores =
      (q.matmul(kv.transpose(2, 3)) * scale)
          .to(at::kFloat)
          .masked_fill(visible.unsqueeze(1).logical_not(), -std::numeric_limits<float>::infinity());
  const at::Tensor own = sink.view({1, -1, 1, 1}).expand({scores.size(0), -1, scores.size(2), 1});
  const at::Tensor weights = at::cat({scores, own}, -1).softmax(-1);
  return weights.narrow(-1, 0, kv.size(2)).to(q.scalar_type()).matmul(kv);
}

at::Tensor compressed_attention(const CompressedAttention& config, const NormConfig& norm,
                                const SectionWeights& weights, const at::Tensor& x,
                                ForwardState& state) {
  return Layer(config, norm, weights, x, state).run();
}

}  // namespace models
