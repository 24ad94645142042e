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

// The region of a rule that has one around all layers.
class OuterRegion : public LinearRegion {
 public:
  explicit OuterRegion(LinearRule* rule)
      : LinearRegion(rule != nullptr && rule->has_outer_region() ? rule : nullptr,
                     LinearRule::Region::kOuter) {}
};

// One of the two places of a layer that read the residual stream or streams: its tensors and parts.
struct Site {
  Role norm;
  Role mapping, base, scale;
  LayerPart input, normed, merge;
};

constexpr Site kAttentionSite = {Role::kAttentionNorm,        Role::kAttentionMapping,
                                 Role::kAttentionMappingBase, Role::kAttentionMappingScale,
                                 LayerPart::kAttentionInput,  LayerPart::kAttentionNorm,
                                 LayerPart::kAttentionMerge};
constexpr Site kMlpSite = {Role::kMlpNorm,         Role::kMlpMapping,    Role::kMlpMappingBase,
                           Role::kMlpMappingScale, LayerPart::kMlpInput, LayerPart::kMlpNorm,
                           LayerPart::kMlpMerge};

// Runs the small parts of a layer, by way of `parts` if there are some.
struct PartRunner {
  LayerParts* parts;
  int64_t layer;

  at::Tensor operator()(LayerPart part, const LayerParts::Function& function,
                        const LayerParts::Inputs& inputs) const {
    return parts == nullptr ? function(inputs) : parts->run(layer, part, function, inputs);
  }
};

// Runs attention or MLP (`whole`), which reads the norm of the residual stream or streams and
// returns its result to them.
template <typename Whole>
at::Tensor around(const Site& site, const at::Tensor& hidden, const ModelConfig& config,
                  const SectionWeights& weights, const PartRunner& run, const Whole& whole) {
  using Inputs = LayerParts::Inputs;
  if (!has_streams(config)) return hidden + whole(norm(hidden, weights, site.norm, config));
  const HyperMix mix = hyper_mapping(config.hyper, config.norm.eps,
                                     mapping(weights, site.mapping, site.base, site.scale), hidden);
  const at::Tensor input = run(
      site.input, [](const Inputs& in) { return hyper_input(in[0], in[1]); }, {mix.pre, hidden});
  const at::Tensor normed = run(
      site.normed, [norm = config.norm](const Inputs& in) { return rms_norm(in[0], in[1], norm); },
      {input, weights.get_f32(site.norm)});
  return run(site.merge, [](const Inputs& in) { return hyper_after(in[0], in[1], in[2], in[3]); },
             {mix.post, mix.mix, whole(normed), hidden});
}

}  // namespace

bool LayerRange::contains(const TensorId& id) const {
  switch (id.section) {
    case Section::kLayer:
      return contains(id.index);
    case Section::kModel:
      return id.role == Role::kEmbedding ? has_embedding : has_heads;
    case Section::kMtp:
      return has_heads;
    case Section::kVision:
    case Section::kVisionBlock:
    case Section::kVisionMerger:
      return has_rest;
  }
  return false;
}

ForwardPass::ForwardPass(Weights& weights, const Compute& compute, const at::Tensor& ids,
                         const PassOptions& options)
    : weights_(weights),
      config_(weights.config()),
      compute_(compute),
      layers_(options.layers.value_or(
          LayerRange{0, static_cast<int64_t>(weights.config().layers.size())})),
      input_(options.input),
      has_heads_(!options.layers || options.layers->has_heads),
      gradients_(options.gradients),
      recompute_(options.recompute),
      coverage_(options.coverage),
      parts_(options.parts) {
  check_prompt(ids, config_.vocab);
  state_.ids = ids;
  state_.offsets = options.offsets;
  state_.positions = options.positions;
  state_.sections = options.sections;
  if (!state_.offsets.empty() && !state_.positions.defined()) {
    state_.positions = places_in_sequence(state_.offsets);
  }
  state_.left_out = options.left_out;
  state_.router_loss = options.router_loss;
  state_.recomputed = recompute_.parts;
  state_.linears = compute_.linears;
  state_.copies = compute_.copies;
  state_.limited_steps = compute_.limited_steps;
  if (options.start) {
    state_.hidden = options.start->hidden;
    state_.indices = options.start->indices;
    place_ = 1;
  }
}

std::optional<HiddenState> ForwardPass::next() {
  const c10::InferenceMode no_autograd(!gradients_);
  const int64_t place = place_++;
  if (place == 0) return first_state();
  const int64_t layers = layers_.end - layers_.begin;
  if (place <= layers) return gradients_ ? decoder() : decoder_layer(layers_.begin + place - 1);
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
  if (input_) state_.hidden = input_(index);
  decoder_layers(index, index + 1, state_);
  // A process that reads the state from a file has it in this layout, on which sums may depend.
  state_.hidden = state_.hidden.contiguous();
  return {fmt::format("hidden.{}", index), state_.hidden};
}

HiddenState ForwardPass::decoder() {
  const OuterRegion outer(compute_.linears);
  for (const LayerChunk& chunk : chunks_of(recompute_, layers_.begin, layers_.end)) {
    const auto part = [this, chunk](ForwardState& state, const std::vector<at::Tensor>& given) {
      state.hidden = given[0];
      decoder_layers(chunk.begin, chunk.end, state);
      return std::vector<at::Tensor>{state.hidden};
    };
    state_.hidden = run_part(chunk.again, fmt::format("layers.{}", chunk.begin), part,
                             {state_.hidden}, state_)[0];
  }
  place_ = 1 + layers_.end - layers_.begin;
  return {fmt::format("hidden.{}", layers_.end - 1), state_.hidden};
}

void ForwardPass::decoder_layers(int64_t begin, int64_t end, ForwardState& state) const {
  for (int64_t index = begin; index < end; ++index) {
    const LinearRegion region(compute_.linears, LinearRule::Region::kLayer);
    layer(fmt::format("layers.{}", index), config_.layers[static_cast<size_t>(index)],
          section(Section::kLayer, index), state, parts_, index);
    if (parts_ != nullptr && has_streams(config_)) parts_->end(index, state.hidden);
  }
}

HiddenState ForwardPass::final_state() {
  if (input_) state_.hidden = input_(layers_.end);
  heads_.push_back(head(SectionWeights(weights_, compute_), Role::kFinalNorm, state_.hidden));
  return {"hidden_final", heads_.back()};
}

HiddenState ForwardPass::mtp(int64_t depth) {
  const std::string name = fmt::format("mtp.{}", depth);
  const at::Tensor previous = has_streams(config_) ? state_.hidden : heads_.back();
  const Offsets one_sequence = {0, state_.ids.size(1)};
  const Offsets& offsets = state_.offsets.empty() ? one_sequence : state_.offsets;
  state_.ids = rolled_left(state_.ids, offsets).values;
  if (state_.left_out.defined()) state_.left_out = rolled_left(state_.left_out, offsets).values;
  const OuterRegion outer(compute_.linears);
  const auto part = [this, depth](ForwardState& state, const std::vector<at::Tensor>& given) {
    state.hidden = given[0];
    const at::Tensor head = depth_part(depth, given[1], state);
    return std::vector<at::Tensor>{head, state.hidden};
  };
  const std::vector<at::Tensor> results =
      run_part(recompute_.of_depths(), name, part, {previous, embedding(state_.ids)}, state_);
  heads_.push_back(results[0]);
  state_.hidden = results[1];
  return {fmt::format("mtp_hidden.{}", depth), heads_.back()};
}

// Projection, layer and last norm of a depth. Gives the input of its head.
at::Tensor ForwardPass::depth_part(int64_t depth, const at::Tensor& embedding,
                                   ForwardState& state) const {
  const SectionWeights weights = section(Section::kMtp, depth);
  const LinearRegion region(compute_.linears, LinearRule::Region::kLayer);
  state.hidden = joined(weights, embedding, state.hidden);
  layer(fmt::format("mtp.{}", depth), config_.mtp[static_cast<size_t>(depth)], weights, state);
  return head(weights, Role::kMtpFinalNorm, state.hidden);
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
  const at::Tensor rows = on_device(weights_.chosen_rows({Role::kEmbedding}, distinct), compute_)
                              .to(compute_.dtype)
                              .index_select(0, on_device(places, compute_))
                              .view({ids.size(0), ids.size(1), config_.hidden});
  // The scale is rounded to the type of the rows, as in transformers.
  return config_.embedding_scale == 1
             ? rows
             : rows * at::full({}, config_.embedding_scale, rows.options());
}

void ForwardPass::layer(const std::string& name, const LayerConfig& config,
                        const SectionWeights& weights, ForwardState& state, LayerParts* parts,
                        int64_t index) const {
  const PartRunner run{parts, index};
  if (config.has_attention()) {
    const at::Tensor attended =
        around(kAttentionSite, state.hidden, config_, weights, run, [&](const at::Tensor& normed) {
          return after(attention(config.attention, config_.norm, weights, normed, state), weights,
                       Role::kAttentionPostNorm, config_);
        });
    state.hidden = attended;
  }
  if (!config.has_mlp()) return;
  const at::Tensor attended = state.hidden;
  int64_t routed = 0;
  state.routed_experts = &routed;
  state.hidden = around(kMlpSite, attended, config_, weights, run, [&](const at::Tensor& normed) {
    return after(mlp(config.mlp, weights, normed, state), weights, Role::kMlpPostNorm, config_);
  });
  state.routed_experts = nullptr;
  const auto* experts = std::get_if<MixtureOfExperts>(&config.mlp);
  if (coverage_ != nullptr && experts != nullptr) {
    coverage_->experts.push_back({name, routed, experts->router.experts});
  }
}

// The input of an output layer: [B, S, D].
at::Tensor ForwardPass::head(const SectionWeights& weights, Role final_norm,
                             const at::Tensor& hidden) const {
  if (!has_streams(config_)) return norm(hidden, weights, final_norm, config_);
  const bool is_learned = config_.hyper.dialect == HyperDialect::kDeepSeek;
  const HyperWeights before = is_learned ? mapping(weights, Role::kHeadMapping,
                                                   Role::kHeadMappingBase, Role::kHeadMappingScale)
                                         : HyperWeights();
  return norm(hyper_head(config_.hyper, config_.norm.eps, before, hidden), weights, final_norm,
              config_);
}

// The input of a depth's layer. embedding: [B, S, D]; previous: [B, S, D] or [B, S, n, D].
at::Tensor ForwardPass::joined(const SectionWeights& weights, const at::Tensor& embedding,
                               const at::Tensor& previous) const {
  const at::Tensor next = norm(embedding, weights, Role::kMtpEmbeddingNorm, config_);
  const at::Tensor before = norm(previous, weights, Role::kMtpHiddenNorm, config_);
  if (!has_streams(config_)) {
    return linear(at::cat({next, before}, -1), weights, Role::kMtpProjection);
  }
  return linear(next, weights, Role::kMtpEmbeddingProjection).unsqueeze(2) +
         linear(before, weights, Role::kMtpHiddenProjection);
}

int64_t OutputLayer::step() const {
  const int64_t row_bytes = weights_.config().hidden * static_cast<int64_t>(sizeof(float));
  return std::max<int64_t>(1, kBlockBytes / row_bytes);
}

int64_t OutputLayer::rows_at_once() const {
  return std::max<int64_t>(1, kMostLogits / std::min(step(), weights_.config().output_rows()));
}

at::Tensor OutputLayer::block(int64_t first) const {
  const c10::InferenceMode no_autograd;
  return SectionWeights(weights_, compute_)
      .rows(role(), first, std::min(first + step(), weights_.config().output_rows()));
}

at::Tensor OutputLayer::whole() const {
  return SectionWeights(weights_, compute_).get(role());
}

at::Tensor OutputLayer::logits(const at::Tensor& hidden, const at::Tensor& block) const {
  return soft_cap(linear(hidden, block), weights_.config().logit_cap);
}

}  // namespace models
