#include "models/forward/forward.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "models/forward/attention.h"
#include "models/forward/hyper_connection.h"
#include "models/forward/linear.h"
#include "models/forward/mlp.h"
#include "models/forward/norm.h"
#include "models/forward/prompt.h"
#include "models/forward/soft_cap.h"

namespace models {
namespace {

constexpr int64_t kOutputBlockBytes = 64 << 20;  // of fp32 weights
constexpr int64_t kMostLogits = 1 << 20;         // at once: their statistics are sums of doubles

Role bias_of(Role norm) {
  switch (norm) {
    case Role::kAttentionNorm:
      return Role::kAttentionNormBias;
    case Role::kMlpNorm:
      return Role::kMlpNormBias;
    default:
      return Role::kFinalNormBias;
  }
}

at::Tensor norm(const at::Tensor& x, const SectionWeights& weights, Role role,
                const ModelConfig& config) {
  const at::Tensor weight = weights.get_f32(role);
  if (!has_bias(config.norm.kind)) return rms_norm(x, weight, config.norm);
  return layer_norm(x, weight, weights.get_f32(bias_of(role)), config.norm);
}

// What the residual stream takes of the result of a part.
at::Tensor after(const at::Tensor& result, const SectionWeights& weights, Role role,
                 const ModelConfig& config) {
  return config.post_norms ? norm(result, weights, role, config) : result;
}

HyperWeights mapping(const SectionWeights& weights, Role mapping, Role base, Role scale) {
  return {weights.get_f32(mapping), weights.get_f32(base), weights.get_f32(scale)};
}

bool has_streams(const ModelConfig& config) {
  return config.hyper.streams > 0;
}

// Runs a part of a layer, which reads the residual stream or streams and returns its result to
// them.
template <typename Part>
at::Tensor around(const at::Tensor& hidden, const ModelConfig& config, const HyperWeights& weights,
                  const Part& part) {
  if (!has_streams(config)) return hidden + part(hidden);
  const HyperMix mix = hyper_before(config.hyper, config.norm.eps, weights, hidden);
  return hyper_after(mix, part(mix.input), hidden);
}

}  // namespace

ForwardPass::ForwardPass(Weights& weights, const Compute& compute, const at::Tensor& ids,
                         const PassOptions& options)
    : weights_(weights),
      config_(weights.config()),
      compute_(compute),
      layers_(options.layers.value_or(
          LayerRange{0, static_cast<int64_t>(weights.config().layers.size())})),
      has_heads_(!options.layers),
      gradients_(options.gradients),
      coverage_(options.coverage) {
  check_prompt(ids, config_.vocab);
  state_.ids = ids;
  state_.offsets = options.offsets;
  state_.positions = options.positions;
  if (!state_.offsets.empty() && !state_.positions.defined()) {
    state_.positions = places_in_sequence(state_.offsets);
  }
  state_.on_router = options.on_router;
}

std::optional<HiddenState> ForwardPass::next() {
  const c10::InferenceMode no_autograd(!gradients_);
  const int64_t place = place_++;
  if (place == 0) return first_state();
  const int64_t layers = layers_.end - layers_.begin;
  if (place <= layers) return decoder_layer(layers_.begin + place - 1);
  if (!has_heads_) return std::nullopt;
  if (place == layers + 1) return final_state();
  const int64_t depth = place - layers - 2;
  if (depth < static_cast<int64_t>(config_.mtp.size())) return mtp(depth);
  return std::nullopt;
}

HiddenState ForwardPass::first_state() {
  state_.hidden = embedding(state_.ids);
  if (has_streams(config_)) {
    state_.hidden = state_.hidden.unsqueeze(2).expand({-1, -1, config_.hyper.streams, -1});
  }
  return {"hidden_embed", state_.hidden};
}

HiddenState ForwardPass::decoder_layer(int64_t index) {
  layer(fmt::format("layers.{}", index), config_.layers[static_cast<size_t>(index)],
        section(Section::kLayer, index));
  return {fmt::format("hidden.{}", index), state_.hidden};
}

HiddenState ForwardPass::final_state() {
  heads_.push_back(head(SectionWeights(weights_, compute_), Role::kFinalNorm));
  return {"hidden_final", heads_.back()};
}

HiddenState ForwardPass::mtp(int64_t depth) {
  const SectionWeights weights = section(Section::kMtp, depth);
  const at::Tensor previous = has_streams(config_) ? state_.hidden : heads_.back();
  const Offsets one_sequence = {0, state_.ids.size(1)};
  state_.ids =
      rolled_left(state_.ids, state_.offsets.empty() ? one_sequence : state_.offsets).values;
  state_.hidden = joined(weights, embedding(state_.ids), previous);
  layer(fmt::format("mtp.{}", depth), config_.mtp[static_cast<size_t>(depth)], weights);
  heads_.push_back(head(weights, Role::kMtpFinalNorm));
  return {fmt::format("mtp_hidden.{}", depth), heads_.back()};
}

SectionWeights ForwardPass::section(Section section, int64_t index) const {
  return {weights_, compute_, section, index};
}

// Reads each row that occurs only once.
at::Tensor ForwardPass::embedding(const at::Tensor& ids) const {
  const at::Tensor flat = ids.flatten().contiguous();
  const int64_t* tokens = flat.const_data_ptr<int64_t>();
  std::vector<int64_t> distinct(tokens, tokens + flat.numel());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (coverage_ != nullptr && coverage_->embedding_rows == 0) {
    coverage_->embedding_rows = static_cast<int64_t>(distinct.size());
  }
  at::Tensor places = at::empty({flat.numel()}, at::kLong);
  int64_t* place = places.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    place[i] = std::lower_bound(distinct.begin(), distinct.end(), tokens[i]) - distinct.begin();
  }
  const at::Tensor rows = weights_.chosen_rows({Role::kEmbedding}, distinct)
                              .to(compute_.device, compute_.dtype)
                              .index_select(0, places.to(compute_.device))
                              .view({ids.size(0), ids.size(1), config_.hidden});
  // The scale is rounded to the type of the rows, as in transformers.
  return config_.embedding_scale == 1
             ? rows
             : rows * at::full({}, config_.embedding_scale, rows.options());
}

void ForwardPass::layer(const std::string& name, const LayerConfig& config,
                        const SectionWeights& weights) {
  HyperWeights before_attention;
  HyperWeights before_mlp;
  if (has_streams(config_)) {
    before_attention = mapping(weights, Role::kAttentionMapping, Role::kAttentionMappingBase,
                               Role::kAttentionMappingScale);
    before_mlp = mapping(weights, Role::kMlpMapping, Role::kMlpMappingBase, Role::kMlpMappingScale);
  }
  state_.hidden = around(state_.hidden, config_, before_attention, [&](const at::Tensor& x) {
    return after(attention(config.attention, config_.norm, weights,
                           norm(x, weights, Role::kAttentionNorm, config_), state_),
                 weights, Role::kAttentionPostNorm, config_);
  });
  int64_t routed = 0;
  state_.routed_experts = &routed;
  state_.hidden = around(state_.hidden, config_, before_mlp, [&](const at::Tensor& x) {
    return after(mlp(config.mlp, weights, norm(x, weights, Role::kMlpNorm, config_), state_),
                 weights, Role::kMlpPostNorm, config_);
  });
  state_.routed_experts = nullptr;
  const auto* experts = std::get_if<MixtureOfExperts>(&config.mlp);
  if (coverage_ != nullptr && experts != nullptr) {
    coverage_->experts.push_back({name, routed, experts->router.experts});
  }
}

// The input of an output layer: [B, S, D].
at::Tensor ForwardPass::head(const SectionWeights& weights, Role final_norm) const {
  if (!has_streams(config_)) return norm(state_.hidden, weights, final_norm, config_);
  const HyperWeights before =
      mapping(weights, Role::kHeadMapping, Role::kHeadMappingBase, Role::kHeadMappingScale);
  return norm(hyper_head(config_.hyper, config_.norm.eps, before, state_.hidden), weights,
              final_norm, config_);
}

// The input of a depth's layer. embedding: [B, S, D]; previous: [B, S, D] or [B, S, n, D].
at::Tensor ForwardPass::joined(const SectionWeights& weights, const at::Tensor& embedding,
                               const at::Tensor& previous) const {
  const at::Tensor next = norm(embedding, weights, Role::kMtpEmbeddingNorm, config_);
  const at::Tensor before = norm(previous, weights, Role::kMtpHiddenNorm, config_);
  if (!has_streams(config_)) {
    return linear(at::cat({next, before}, -1), weights.get(Role::kMtpProjection));
  }
  return linear(next, weights.get(Role::kMtpEmbeddingProjection)).unsqueeze(2) +
         linear(before, weights.get(Role::kMtpHiddenProjection));
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
  return SectionWeights(weights_, compute_)
      .rows(role(), first, std::min(first + step(), weights_.config().vocab));
}

at::Tensor OutputLayer::whole() const {
  return SectionWeights(weights_, compute_).get(role());
}

at::Tensor OutputLayer::logits(const at::Tensor& hidden, const at::Tensor& block) const {
  return soft_cap(linear(hidden, block), weights_.config().logit_cap);
}

}  // namespace models
