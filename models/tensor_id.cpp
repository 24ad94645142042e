#include "models/tensor_id.h"

#include <fmt/format.h>

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
        section_(section),
        index_(index),
        visit_(visit) {}

  void all(const LayerConfig& layer) const {
    mapping(Role::kAttentionMapping, Role::kAttentionMappingBase, Role::kAttentionMappingScale,
            (2 + streams_) * streams_, 3);
    add(Role::kAttentionNorm, {hidden_});
    std::visit([&](const auto& kind) { part(kind); }, layer.attention);
    mapping(Role::kMlpMapping, Role::kMlpMappingBase, Role::kMlpMappingScale,
            (2 + streams_) * streams_, 3);
    add(Role::kMlpNorm, {hidden_});
    std::visit([&](const auto& kind) { part(kind); }, layer.mlp);
  }

  void head() const {
    mapping(Role::kHeadMapping, Role::kHeadMappingBase, Role::kHeadMappingScale, streams_, 1);
  }

  void add(Role role, const bridge::Shape& shape, int64_t expert = -1) const {
    visit_(TensorId{role, section_, index_, expert}, shape);
  }

 private:
  // Nothing where there is one plain residual stream.
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
      add(Role::kQNorm, {attention.head_dim});
      add(Role::kKNorm, {attention.head_dim});
    }
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

  void part(const DenseMlp& mlp) const {
    add(Role::kGate, {mlp.width, hidden_});
    add(Role::kUp, {mlp.width, hidden_});
    add(Role::kDown, {hidden_, mlp.width});
    if (mlp.bias) {
      add(Role::kGateBias, {mlp.width});
      add(Role::kUpBias, {mlp.width});
      add(Role::kDownBias, {hidden_});
    }
  }

  void part(const MixtureOfExperts& mlp) const {
    add(Role::kRouter, {mlp.router.experts, hidden_});
    if (mlp.router.selection_bias) add(Role::kRouterBias, {mlp.router.experts});
    if (mlp.router.by_token) add(Role::kRouterTable, {vocab_, mlp.router.chosen});
    for (int64_t expert = 0; expert < mlp.router.experts; ++expert) {
      add(Role::kExpertGate, {mlp.width, hidden_}, expert);
      add(Role::kExpertUp, {mlp.width, hidden_}, expert);
      add(Role::kExpertDown, {hidden_, mlp.width}, expert);
    }
    if (mlp.shared_width > 0) {
      add(Role::kSharedGate, {mlp.shared_width, hidden_});
      add(Role::kSharedUp, {mlp.shared_width, hidden_});
      add(Role::kSharedDown, {hidden_, mlp.shared_width});
      if (mlp.shared_gated) add(Role::kSharedWeight, {1, hidden_});
    }
  }

  int64_t hidden_;
  int64_t vocab_;
  int64_t streams_;
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

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kEmbedding:
      return "embedding";
    case Role::kFinalNorm:
    case Role::kMtpFinalNorm:
      return "final_norm";
    case Role::kOutput:
      return "output";
    case Role::kAttentionNorm:
      return "attention_norm";
    case Role::kMlpNorm:
      return "mlp_norm";
    case Role::kQ:
      return "q";
    case Role::kK:
      return "k";
    case Role::kV:
      return "v";
    case Role::kO:
      return "o";
    case Role::kQBias:
      return "q_bias";
    case Role::kKBias:
      return "k_bias";
    case Role::kVBias:
      return "v_bias";
    case Role::kOBias:
      return "o_bias";
    case Role::kQNorm:
      return "q_norm";
    case Role::kKNorm:
      return "k_norm";
    case Role::kQDown:
      return "q_down";
    case Role::kQDownNorm:
      return "q_down_norm";
    case Role::kQUp:
      return "q_up";
    case Role::kKvDown:
      return "kv_down";
    case Role::kKvDownNorm:
      return "kv_down_norm";
    case Role::kKvUp:
      return "kv_up";
    case Role::kQGate:
      return "q_gate";
    case Role::kKv:
      return "kv";
    case Role::kKvNorm:
      return "kv_norm";
    case Role::kSink:
      return "sink";
    case Role::kODown:
      return "o_down";
    case Role::kOUp:
      return "o_up";
    case Role::kSummaryValue:
      return "summary.value";
    case Role::kSummaryGate:
      return "summary.gate";
    case Role::kSummaryPlace:
      return "summary.place";
    case Role::kSummaryNorm:
      return "summary.norm";
    case Role::kIndexQ:
      return "index.q";
    case Role::kIndexWeights:
      return "index.weights";
    case Role::kIndexValue:
      return "index.value";
    case Role::kIndexGate:
      return "index.gate";
    case Role::kIndexPlace:
      return "index.place";
    case Role::kIndexNorm:
      return "index.norm";
    case Role::kZ:
      return "z";
    case Role::kBeta:
      return "beta";
    case Role::kAlpha:
      return "alpha";
    case Role::kQConv:
      return "q_conv";
    case Role::kKConv:
      return "k_conv";
    case Role::kVConv:
      return "v_conv";
    case Role::kDecay:
      return "decay";
    case Role::kDecayBias:
      return "decay_bias";
    case Role::kHeadNorm:
      return "head_norm";
    case Role::kGate:
    case Role::kExpertGate:
      return "gate";
    case Role::kUp:
    case Role::kExpertUp:
      return "up";
    case Role::kDown:
    case Role::kExpertDown:
      return "down";
    case Role::kGateBias:
      return "gate_bias";
    case Role::kUpBias:
      return "up_bias";
    case Role::kDownBias:
      return "down_bias";
    case Role::kRouter:
      return "router";
    case Role::kRouterBias:
      return "router_bias";
    case Role::kRouterTable:
      return "router_table";
    case Role::kSharedGate:
      return "shared.gate";
    case Role::kSharedUp:
      return "shared.up";
    case Role::kSharedDown:
      return "shared.down";
    case Role::kSharedWeight:
      return "shared.weight";
    case Role::kAttentionMapping:
      return "attention_mapping";
    case Role::kAttentionMappingBase:
      return "attention_mapping.base";
    case Role::kAttentionMappingScale:
      return "attention_mapping.scale";
    case Role::kMlpMapping:
      return "mlp_mapping";
    case Role::kMlpMappingBase:
      return "mlp_mapping.base";
    case Role::kMlpMappingScale:
      return "mlp_mapping.scale";
    case Role::kHeadMapping:
      return "head_mapping";
    case Role::kHeadMappingBase:
      return "head_mapping.base";
    case Role::kHeadMappingScale:
      return "head_mapping.scale";
    case Role::kMtpEmbeddingNorm:
      return "embedding_norm";
    case Role::kMtpHiddenNorm:
      return "hidden_norm";
    case Role::kMtpProjection:
      return "projection";
    case Role::kMtpEmbeddingProjection:
      return "embedding_projection";
    case Role::kMtpHiddenProjection:
      return "hidden_projection";
  }
  return "";
}

std::string to_string(const TensorId& id) {
  std::string name;
  if (id.section == Section::kLayer) name = fmt::format("layers.{}.", id.index);
  if (id.section == Section::kMtp) {
    name = fmt::format("mtp.{}.{}", id.index, is_of_frame(id.role) ? "" : "layer.");
  }
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
  if (!config.tied) visit({Role::kOutput}, {config.vocab, hidden});
}

}  // namespace models
