#include "models/model/tensor_id.h"

#include <fmt/format.h>

#include "models/model/vision_tensors.h"

namespace models {
namespace {

// The tensors of one layer, in the order of use.
class LayerTensors {
 public:
  LayerTensors(const ModelConfig& config, Section section, int64_t index,
               const TensorVisitor& visit)
      : hidden_(config.hidden),
        vocab_(config.vocab),
        streams_(config.hyper.streams),
        has_head_(config.hyper.dialect == HyperDialect::kDeepSeek),
        biased_norms_(has_bias(config.norm.kind)),
        post_norms_(config.post_norms),
        section_(section),
        index_(index),
        visit_(visit) {}

  void all(const LayerConfig& layer) const {
    if (layer.has_attention()) {
      mapping(Role::kAttentionMapping, Role::kAttentionMappingBase, Role::kAttentionMappingScale,
              (2 + streams_) * streams_, 3);
      norm(Role::kAttentionNorm, Role::kAttentionNormBias);
      std::visit([&](const auto& kind) { part(kind); }, layer.attention);
      if (post_norms_) add(Role::kAttentionPostNorm, {hidden_});
    }
    if (layer.has_mlp()) {
      mapping(Role::kMlpMapping, Role::kMlpMappingBase, Role::kMlpMappingScale,
              (2 + streams_) * streams_, 3);
      norm(Role::kMlpNorm, Role::kMlpNormBias);
      std::visit([&](const auto& kind) { part(kind); }, layer.mlp);
      if (post_norms_) add(Role::kMlpPostNorm, {hidden_});
    }
  }

  void head() const {
    if (!has_head_) return;
    mapping(Role::kHeadMapping, Role::kHeadMappingBase, Role::kHeadMappingScale, streams_, 1);
  }

  void add(Role role, const bridge::Shape& shape, int64_t expert = -1) const {
    visit_(TensorId{role, section_, index_, expert}, shape);
  }

 private:
  void norm(Role weight, Role bias) const {
    add(weight, {hidden_});
    if (biased_norms_) add(bias, {hidden_});
  }

  // Adds nothing where there is one plain residual stream.
  void mapping(Role weight, Role base, Role scale, int64_t rows, int64_t scales) const {
    if (streams_ == 0) return;
    add(weight, {rows, streams_ * hidden_});
    add(base, {rows});
    add(scale, {scales});
  }

  void part(const GroupedAttention& attention) const {
    const int64_t q = attention.heads * attention.head_dim;
    const int64_t kv = attention.kv_heads * attention.head_dim;
    add(Role::kQ, {q, hidden_});
    if (attention.gated) add(Role::kQGate, {q, hidden_});
    add(Role::kK, {kv, hidden_});
    add(Role::kV, {kv, hidden_});
    if (attention.qkv_bias) {
      add(Role::kQBias, {q});
      add(Role::kKBias, {kv});
      add(Role::kVBias, {kv});
    }
    if (attention.qk_norm) {
      add(Role::kQNorm, {attention.whole_qk_norm ? q : attention.head_dim});
      add(Role::kKNorm, {attention.whole_qk_norm ? kv : attention.head_dim});
    }
    if (attention.sinks) add(Role::kSink, {attention.heads});
    add(Role::kO, {hidden_, q});
    if (attention.output_bias) add(Role::kOBias, {hidden_});
  }

  void part(const LatentAttention& attention) const {
    const int64_t q = attention.heads * (attention.nope_dim + attention.rope_dim);
    if (attention.q_rank == 0) {
      add(Role::kQ, {q, hidden_});
    } else {
      add(Role::kQDown, {attention.q_rank, hidden_});
      add(Role::kQDownNorm, {attention.q_rank});
      add(Role::kQUp, {q, attention.q_rank});
    }
    add(Role::kKvDown, {attention.kv_rank + attention.rope_dim, hidden_});
    add(Role::kKvDownNorm, {attention.kv_rank});
    add(Role::kKvUp, {attention.heads * (attention.nope_dim + attention.v_dim), attention.kv_rank});
    const TokenIndex& index = attention.index;
    if (index.heads > 0) {
      add(Role::kIndexQ, {index.heads * index.dim, attention.q_rank});
      add(Role::kIndexKey, {index.dim, hidden_});
      add(Role::kIndexKeyNorm, {index.dim});
      add(Role::kIndexKeyNormBias, {index.dim});
      add(Role::kIndexWeights, {index.heads, hidden_});
    }
    add(Role::kO, {hidden_, attention.heads * attention.v_dim});
  }

  void part(const CompressedAttention& attention) const {
    const int64_t q = attention.heads * attention.head_dim;
    const int64_t grouped = attention.output_groups * attention.output_rank;
    add(Role::kQDown, {attention.q_rank, hidden_});
    add(Role::kQDownNorm, {attention.q_rank});
    add(Role::kQUp, {q, attention.q_rank});
    add(Role::kKv, {attention.head_dim, hidden_});
    add(Role::kKvNorm, {attention.head_dim});
    add(Role::kSink, {attention.heads});
    if (attention.ratio > 0) {
      const int64_t halves = attention.overlapping ? 2 : 1;
      const auto summaries = [&](Role value, Role gate, Role place, Role norm, int64_t dim) {
        add(value, {halves * dim, hidden_});
        add(gate, {halves * dim, hidden_});
        add(place, {attention.ratio, halves * dim});
        add(norm, {dim});
      };
      summaries(Role::kSummaryValue, Role::kSummaryGate, Role::kSummaryPlace, Role::kSummaryNorm,
                attention.head_dim);
      if (attention.index_heads > 0) {
        add(Role::kIndexQ, {attention.index_heads * attention.index_dim, attention.q_rank});
        add(Role::kIndexWeights, {attention.index_heads, hidden_});
        summaries(Role::kIndexValue, Role::kIndexGate, Role::kIndexPlace, Role::kIndexNorm,
                  attention.index_dim);
      }
    }
    add(Role::kODown, {grouped, q / attention.output_groups});
    add(Role::kOUp, {hidden_, grouped});
  }

  void part(const DeltaAttention& attention) const {
    const int64_t key = attention.key_heads * attention.key_dim;
    const int64_t value = attention.value_heads * attention.value_dim;
    add(Role::kQ, {key, hidden_});
    add(Role::kK, {key, hidden_});
    add(Role::kV, {value, hidden_});
    add(Role::kZ, {value, hidden_});
    add(Role::kBeta, {attention.value_heads, hidden_});
    add(Role::kAlpha, {attention.value_heads, hidden_});
    add(Role::kQConv, {key, 1, attention.kernel});
    add(Role::kKConv, {key, 1, attention.kernel});
    add(Role::kVConv, {value, 1, attention.kernel});
    add(Role::kDecay, {attention.value_heads});
    add(Role::kDecayBias, {attention.value_heads});
    add(Role::kHeadNorm, {attention.value_dim});
    add(Role::kO, {hidden_, value});
  }

  void part(const Mamba2& mixer) const {
    const int64_t inner = mixer.heads * mixer.head_dim;
    const int64_t states = mixer.groups * mixer.state;
    add(Role::kZ, {inner, hidden_});
    add(Role::kScanX, {inner, hidden_});
    add(Role::kScanB, {states, hidden_});
    add(Role::kScanC, {states, hidden_});
    add(Role::kStep, {mixer.heads, hidden_});
    add(Role::kScanXConv, {inner, 1, mixer.kernel});
    add(Role::kScanBConv, {states, 1, mixer.kernel});
    add(Role::kScanCConv, {states, 1, mixer.kernel});
    add(Role::kScanXConvBias, {inner});
    add(Role::kScanBConvBias, {states});
    add(Role::kScanCConvBias, {states});
    add(Role::kStepBias, {mixer.heads});
    add(Role::kDecay, {mixer.heads});
    add(Role::kSkip, {mixer.heads});
    add(Role::kScanNorm, {inner});
    add(Role::kO, {hidden_, inner});
  }

  void part(const NoAttention&) const {}

  void part(const DenseMlp& mlp) const {
    if (mlp.gated) add(Role::kGate, {mlp.width, hidden_});
    add(Role::kUp, {mlp.width, hidden_});
    add(Role::kDown, {hidden_, mlp.width});
    if (mlp.bias) {
      if (mlp.gated) add(Role::kGateBias, {mlp.width});
      add(Role::kUpBias, {mlp.width});
      add(Role::kDownBias, {hidden_});
    }
  }

  void part(const MixtureOfExperts& mlp) const {
    add(Role::kRouter, {mlp.router.experts, hidden_});
    if (mlp.router.logit_bias) add(Role::kRouterLogitBias, {mlp.router.experts});
    if (mlp.router.selection_bias) add(Role::kRouterBias, {mlp.router.experts});
    if (mlp.router.by_token) add(Role::kRouterTable, {vocab_, mlp.router.chosen});
    const int64_t outer = mlp.latent > 0 ? mlp.latent : hidden_;
    if (mlp.latent > 0) add(Role::kLatentDown, {outer, hidden_});
    for (int64_t expert = 0; expert < mlp.router.experts; ++expert) {
      if (mlp.gated) add(Role::kExpertGate, {mlp.width, outer}, expert);
      add(Role::kExpertUp, {mlp.width, outer}, expert);
      add(Role::kExpertDown, {outer, mlp.width}, expert);
      if (!mlp.bias) continue;
      if (mlp.gated) add(Role::kExpertGateBias, {mlp.width}, expert);
      add(Role::kExpertUpBias, {mlp.width}, expert);
      add(Role::kExpertDownBias, {outer}, expert);
    }
    if (mlp.latent > 0) add(Role::kLatentUp, {hidden_, outer});
    if (mlp.shared_width > 0) {
      if (mlp.gated) add(Role::kSharedGate, {mlp.shared_width, hidden_});
      add(Role::kSharedUp, {mlp.shared_width, hidden_});
      add(Role::kSharedDown, {hidden_, mlp.shared_width});
      if (mlp.shared_gated) add(Role::kSharedWeight, {1, hidden_});
    }
  }

  void part(const NoMlp&) const {}

  int64_t hidden_;
  int64_t vocab_;
  int64_t streams_;
  bool has_head_;
  bool biased_norms_;
  bool post_norms_;
  Section section_;
  int64_t index_;
  const TensorVisitor& visit_;
};

}  // namespace

bool is_of_frame(Role role) {
  switch (role) {
    case Role::kMtpEmbeddingNorm:
    case Role::kMtpHiddenNorm:
    case Role::kMtpProjection:
    case Role::kMtpEmbeddingProjection:
    case Role::kMtpHiddenProjection:
    case Role::kMtpFinalNorm:
    case Role::kHeadMapping:
    case Role::kHeadMappingBase:
    case Role::kHeadMappingScale:
      return true;
    default:
      return false;
  }
}

std::string to_string(const TensorId& id) {
  std::string name;
  if (id.section == Section::kLayer) name = fmt::format("layers.{}.", id.index);
  if (id.section == Section::kMtp) {
    name = fmt::format("mtp.{}.{}", id.index, is_of_frame(id.role) ? "" : "layer.");
  }
  if (id.section == Section::kVision) name = "vision.";
  if (id.section == Section::kVisionBlock) name = fmt::format("vision.blocks.{}.", id.index);
  if (id.section == Section::kVisionMerger) name = fmt::format("vision.deepstack.{}.", id.index);
  if (id.expert >= 0) name += fmt::format("experts.{}.", id.expert);
  return name.append(role_name(id.role));
}

void for_each_tensor(const ModelConfig& config, const TensorVisitor& visit) {
  const int64_t hidden = config.hidden;
  visit({Role::kEmbedding}, {config.vocab, hidden});
  for (size_t i = 0; i < config.layers.size(); ++i) {
    LayerTensors(config, Section::kLayer, static_cast<int64_t>(i), visit).all(config.layers[i]);
  }
  LayerTensors(config, Section::kModel, 0, visit).head();
  visit({Role::kFinalNorm}, {hidden});
  if (has_bias(config.norm.kind)) visit({Role::kFinalNormBias}, {hidden});
  for (size_t i = 0; i < config.mtp.size(); ++i) {
    const LayerTensors depth(config, Section::kMtp, static_cast<int64_t>(i), visit);
    depth.add(Role::kMtpEmbeddingNorm, {hidden});
    depth.add(Role::kMtpHiddenNorm, {hidden});
    if (config.hyper.streams == 0) {
      depth.add(Role::kMtpProjection, {hidden, 2 * hidden});
    } else {
      depth.add(Role::kMtpEmbeddingProjection, {hidden, hidden});
      depth.add(Role::kMtpHiddenProjection, {hidden, hidden});
    }
    depth.all(config.mtp[i]);
    depth.head();
    depth.add(Role::kMtpFinalNorm, {hidden});
  }
  if (!config.tied) visit({Role::kOutput}, {config.output_rows(), hidden});
  if (config.vision) for_each_vision_tensor(*config.vision, visit);
}

}  // namespace models
