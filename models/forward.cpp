#include "models/forward.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "models/attention.h"
#include "models/linear.h"
#include "models/mlp.h"
#include "models/norm.h"
#include "models/prompt.h"

namespace models {
namespace {

constexpr int64_t kOutputBlockBytes = 64 << 20;  // of fp32 weights
constexpr int64_t kMostLogits = 1 << 20;         // their statistics are sums of doubles

HyperWeights mapping(const SectionWeights& weights, Role mapping, Role base, Role scale) {
  return {weights.get_f32(mapping), weights.get_f32(base), weights.get_f32(scale)};
}

}  // namespace

ForwardPass::ForwardPass(Weights& weights, const Compute& compute, const at::Tensor& ids,
                         const PassOptions& options)
    : weights_(weights), config_(weights.config()), compute_(compute), options_(options) {
  check_prompt(ids, config_.vocab);
  state_.ids = ids;
  if (options.layers) layer_ = static_cast<size_t>(options.layers->begin);
}

std::optional<PassState> ForwardPass::next() {
  const c10::InferenceMode no_autograd;
  if (!embedded_) {
    embedded_ = true;
    state_.hidden = embedding(state_.ids);
    if (has_streams()) {
      state_.hidden = state_.hidden.unsqueeze(2).expand({-1, -1, config_.hyper.streams, -1});
    }
    return PassState{"hidden_embed", state_.hidden};
  }
  const size_t end =
      options_.layers ? static_cast<size_t>(options_.layers->end) : config_.layers.size();
  if (layer_ < end) {
    const size_t i = layer_++;
    layer(fmt::format("layers.{}", i), config_.layers[i], section(Section::kLayer, i));
    return PassState{fmt::format("hidden.{}", i), state_.hidden};
  }
  if (options_.layers) return std::nullopt;
  if (heads_.empty()) {
    heads_.push_back(head(SectionWeights(weights_, compute_), Role::kFinalNorm));
    return PassState{"hidden_final", heads_.back()};
  }
  const size_t depth = heads_.size() - 1;
  if (depth == config_.mtp.size()) return std::nullopt;
  heads_.push_back(mtp(depth, has_streams() ? state_.hidden : heads_.back()));
  return PassState{fmt::format("mtp_hidden.{}", depth), heads_.back()};
}

SectionWeights ForwardPass::section(Section section, size_t index) const {
  return {weights_, compute_, section, static_cast<int64_t>(index)};
}

at::Tensor ForwardPass::norm(const at::Tensor& x, const SectionWeights& weights, Role role) const {
  return rms_norm(x, weights.get_f32(role), config_.norm);
}

// Each row that occurs is read once.
at::Tensor ForwardPass::embedding(const at::Tensor& ids) const {
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
    rows.push_back(weights_.rows({Role::kEmbedding}, token, token + 1));
  }
  at::Tensor places = at::empty({flat.numel()}, at::kLong);
  int64_t* place = places.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    place[i] = std::lower_bound(distinct.begin(), distinct.end(), tokens[i]) - distinct.begin();
  }
  return at::cat(rows)
      .to(compute_.device, compute_.dtype)
      .index_select(0, places.to(compute_.device))
      .view({ids.size(0), ids.size(1), config_.hidden});
}

// A part of a layer reads what is in the residual stream or streams, and its result goes there.
template <typename Part>
at::Tensor ForwardPass::around(const at::Tensor& hidden, const HyperWeights& weights,
                               const Part& part) const {
  if (!has_streams()) return hidden + part(hidden);
  const HyperMix mix = hyper_before(config_.hyper, config_.norm.eps, weights, hidden);
  return hyper_after(mix, part(mix.input), hidden);
}

void ForwardPass::layer(const std::string& name, const LayerConfig& config,
                        const SectionWeights& weights) {
  HyperWeights before_attention;
  HyperWeights before_mlp;
  if (has_streams()) {
    before_attention = mapping(weights, Role::kAttentionMapping, Role::kAttentionMappingBase,
                               Role::kAttentionMappingScale);
    before_mlp = mapping(weights, Role::kMlpMapping, Role::kMlpMappingBase, Role::kMlpMappingScale);
  }
  state_.hidden = around(state_.hidden, before_attention, [&](const at::Tensor& x) {
    return attention(config.attention, config_.norm, weights,
                     norm(x, weights, Role::kAttentionNorm), state_);
  });
  int64_t routed = 0;
  state_.routed_experts = &routed;
  state_.hidden = around(state_.hidden, before_mlp, [&](const at::Tensor& x) {
    return mlp(config.mlp, weights, norm(x, weights, Role::kMlpNorm), state_);
  });
  state_.routed_experts = nullptr;
  const auto* experts = std::get_if<MixtureOfExperts>(&config.mlp);
  if (options_.coverage != nullptr && experts != nullptr) {
    options_.coverage->experts.push_back({name, routed, experts->router.experts});
  }
}

// What an output layer reads: [B, S, D].
at::Tensor ForwardPass::head(const SectionWeights& weights, Role final_norm) const {
  if (!has_streams()) return norm(state_.hidden, weights, final_norm);
  const HyperWeights before =
      mapping(weights, Role::kHeadMapping, Role::kHeadMappingBase, Role::kHeadMappingScale);
  return norm(hyper_head(config_.hyper, config_.norm.eps, before, state_.hidden), weights,
              final_norm);
}

// What a depth's layer reads: embedding [B, S, D], previous [B, S, D] or [B, S, n, D].
at::Tensor ForwardPass::joined(const SectionWeights& weights, const at::Tensor& embedding,
                               const at::Tensor& previous) const {
  const at::Tensor next = norm(embedding, weights, Role::kMtpEmbeddingNorm);
  const at::Tensor before = norm(previous, weights, Role::kMtpHiddenNorm);
  if (!has_streams()) {
    return linear(at::cat({next, before}, -1), weights.get(Role::kMtpProjection));
  }
  return linear(next, weights.get(Role::kMtpEmbeddingProjection)).unsqueeze(2) +
         linear(before, weights.get(Role::kMtpHiddenProjection));
}

at::Tensor ForwardPass::mtp(size_t depth, const at::Tensor& previous) {
  const SectionWeights weights = section(Section::kMtp, depth);
  const int64_t tokens = state_.ids.size(1);
  state_.ids =
      at::cat({state_.ids.narrow(1, 1, tokens - 1), at::zeros_like(state_.ids.narrow(1, 0, 1))}, 1);
  state_.hidden = joined(weights, embedding(state_.ids), previous);
  layer(fmt::format("mtp.{}", depth), config_.mtp[depth], weights);
  return head(weights, Role::kMtpFinalNorm);
}

int64_t OutputLayer::step() const {
  const int64_t row_bytes = weights_.config().hidden * static_cast<int64_t>(sizeof(float));
  return std::max<int64_t>(1, kOutputBlockBytes / row_bytes);
}

int64_t OutputLayer::rows_at_once() const {
  return std::max<int64_t>(1, kMostLogits / std::min(step(), weights_.config().vocab));
}

at::Tensor OutputLayer::block(int64_t first) const {
  const c10::InferenceMode no_autograd;
  const ModelConfig& config = weights_.config();
  const Role role = config.tied ? Role::kEmbedding : Role::kOutput;
  return SectionWeights(weights_, compute_)
      .rows(role, first, std::min(first + step(), config.vocab));
}

}  // namespace models
