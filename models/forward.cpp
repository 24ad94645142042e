#include "models/forward.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "models/attention.h"
#include "models/forward_state.h"
#include "models/hyper_connection.h"
#include "models/linear.h"
#include "models/mlp.h"
#include "models/norm.h"
#include "models/prompt.h"

namespace models {
namespace {

constexpr int64_t kOutputBlockBytes = 64 << 20;  // of fp32 weights

class Pass {
 public:
  Pass(Weights& weights, const Compute& compute, const HiddenVisitor& on_hidden,
       const PassOptions& options)
      : weights_(weights),
        config_(weights.config()),
        compute_(compute),
        on_hidden_(on_hidden),
        options_(options) {}

  std::vector<at::Tensor> run(const at::Tensor& ids) {
    ForwardState state;
    state.ids = ids;
    state.hidden = embedding(ids);
    if (has_streams()) {
      state.hidden = state.hidden.unsqueeze(2).expand({-1, -1, config_.hyper.streams, -1});
    }
    on_hidden_("hidden_embed", state.hidden);
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      if (options_.layers && !options_.layers->contains(static_cast<int64_t>(i))) continue;
      layer(fmt::format("layers.{}", i), config_.layers[i], section(Section::kLayer, i), state);
      on_hidden_(fmt::format("hidden.{}", i), state.hidden);
    }
    if (options_.layers) return {};
    std::vector<at::Tensor> heads;
    heads.push_back(head(SectionWeights(weights_, compute_), Role::kFinalNorm, state));
    on_hidden_("hidden_final", heads.back());
    for (size_t depth = 0; depth < config_.mtp.size(); ++depth) {
      heads.push_back(mtp(depth, has_streams() ? state.hidden : heads.back(), state));
      on_hidden_(fmt::format("mtp_hidden.{}", depth), heads.back());
    }
    return heads;
  }

 private:
  SectionWeights section(Section section, size_t index) const {
    return {weights_, compute_, section, static_cast<int64_t>(index)};
  }

  at::Tensor norm(const at::Tensor& x, const SectionWeights& weights, Role role) const {
    return rms_norm(x, weights.get_f32(role), config_.norm);
  }

  // Each row that occurs is read once.
  at::Tensor embedding(const at::Tensor& ids) const {
    const SectionWeights model(weights_, compute_);
    const at::Tensor flat = ids.flatten().contiguous();
    const int64_t* tokens = flat.const_data_ptr<int64_t>();
    std::vector<int64_t> distinct(tokens, tokens + flat.numel());
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    if (options_.coverage != nullptr && options_.coverage->embedding_rows == 0) {
      options_.coverage->embedding_rows = static_cast<int64_t>(distinct.size());
    }
    std::vector<at::Tensor> rows;
    rows.reserve(distinct.size());
    for (const int64_t token : distinct) {
      rows.push_back(model.rows(Role::kEmbedding, token, token + 1));
    }
    at::Tensor places = at::empty({flat.numel()}, at::kLong);
    int64_t* place = places.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < flat.numel(); ++i) {
      place[i] = std::lower_bound(distinct.begin(), distinct.end(), tokens[i]) - distinct.begin();
    }
    return at::cat(rows)
        .index_select(0, places.to(compute_.device))
        .view({ids.size(0), ids.size(1), config_.hidden});
  }

  bool has_streams() const { return config_.hyper.streams > 0; }

  static HyperWeights mapping(const SectionWeights& weights, Role mapping, Role base, Role scale) {
    return {weights.get_f32(mapping), weights.get_f32(base), weights.get_f32(scale)};
  }

  // A part of a layer reads what is in the residual stream or streams, and its result goes there.
  template <typename Part>
  at::Tensor around(const at::Tensor& hidden, const HyperWeights& weights, const Part& part) const {
    if (!has_streams()) return hidden + part(hidden);
    const HyperMix mix = hyper_before(config_.hyper, config_.norm.eps, weights, hidden);
    return hyper_after(mix, part(mix.input), hidden);
  }

  void layer(const std::string& name, const LayerConfig& config, const SectionWeights& weights,
             ForwardState& state) const {
    HyperWeights before_attention;
    HyperWeights before_mlp;
    if (has_streams()) {
      before_attention = mapping(weights, Role::kAttentionMapping, Role::kAttentionMappingBase,
                                 Role::kAttentionMappingScale);
      before_mlp =
          mapping(weights, Role::kMlpMapping, Role::kMlpMappingBase, Role::kMlpMappingScale);
    }
    state.hidden = around(state.hidden, before_attention, [&](const at::Tensor& x) {
      return attention(config.attention, config_.norm, weights,
                       norm(x, weights, Role::kAttentionNorm), state);
    });
    int64_t routed = 0;
    state.routed_experts = &routed;
    state.hidden = around(state.hidden, before_mlp, [&](const at::Tensor& x) {
      return mlp(config.mlp, weights, norm(x, weights, Role::kMlpNorm), state);
    });
    state.routed_experts = nullptr;
    const auto* experts = std::get_if<MixtureOfExperts>(&config.mlp);
    if (options_.coverage != nullptr && experts != nullptr) {
      options_.coverage->experts.push_back({name, routed, experts->router.experts});
    }
  }

  // What an output layer reads: [B, S, D].
  at::Tensor head(const SectionWeights& weights, Role final_norm, const ForwardState& state) const {
    if (!has_streams()) return norm(state.hidden, weights, final_norm);
    const HyperWeights before =
        mapping(weights, Role::kHeadMapping, Role::kHeadMappingBase, Role::kHeadMappingScale);
    return norm(hyper_head(config_.hyper, config_.norm.eps, before, state.hidden), weights,
                final_norm);
  }

  // What a depth's layer reads: embedding [B, S, D], previous [B, S, D] or [B, S, n, D].
  at::Tensor joined(const SectionWeights& weights, const at::Tensor& embedding,
                    const at::Tensor& previous) const {
    const at::Tensor next = norm(embedding, weights, Role::kMtpEmbeddingNorm);
    const at::Tensor before = norm(previous, weights, Role::kMtpHiddenNorm);
    if (!has_streams()) {
      return linear(at::cat({next, before}, -1), weights.get(Role::kMtpProjection));
    }
    return linear(next, weights.get(Role::kMtpEmbeddingProjection)).unsqueeze(2) +
           linear(before, weights.get(Role::kMtpHiddenProjection));
  }

  at::Tensor mtp(size_t depth, const at::Tensor& previous, ForwardState& state) const {
    const SectionWeights weights = section(Section::kMtp, depth);
    const int64_t tokens = state.ids.size(1);
    state.ids =
        at::cat({state.ids.narrow(1, 1, tokens - 1), at::zeros_like(state.ids.narrow(1, 0, 1))}, 1);
    state.hidden = joined(weights, embedding(state.ids), previous);
    layer(fmt::format("mtp.{}", depth), config_.mtp[depth], weights, state);
    return head(weights, Role::kMtpFinalNorm, state);
  }

  Weights& weights_;
  const ModelConfig& config_;
  Compute compute_;
  const HiddenVisitor& on_hidden_;
  const PassOptions& options_;
};

}  // namespace

std::vector<at::Tensor> run_layers(Weights& weights, const Compute& compute, const at::Tensor& ids,
                                   const HiddenVisitor& on_hidden, const PassOptions& options) {
  const c10::InferenceMode no_autograd;
  check_prompt(ids, weights.config().vocab);
  return Pass(weights, compute, on_hidden, options).run(ids);
}

int64_t OutputLayer::step() const {
  const int64_t row_bytes = weights_.config().hidden * static_cast<int64_t>(sizeof(float));
  return std::max<int64_t>(1, kOutputBlockBytes / row_bytes);
}

at::Tensor OutputLayer::block(int64_t first) const {
  const c10::InferenceMode no_autograd;
  const ModelConfig& config = weights_.config();
  const Role role = config.tied ? Role::kEmbedding : Role::kOutput;
  return SectionWeights(weights_, compute_)
      .rows(role, first, std::min(first + step(), config.vocab));
}

}  // namespace models
