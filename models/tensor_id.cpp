#include "models/tensor_id.h"

#include <fmt/format.h>

namespace models {
namespace {

bool is_frame(Role role) {
  return role == Role::kMtpEmbeddingNorm || role == Role::kMtpHiddenNorm ||
         role == Role::kMtpProjection || role == Role::kMtpFinalNorm;
}

// The tensors of one layer, in the order of use.
class LayerTensors {
 public:
  LayerTensors(int64_t hidden, Section section, int64_t index, const TensorVisitor& visit)
      : hidden_(hidden), section_(section), index_(index), visit_(visit) {}

  void all(const LayerConfig& layer) const {
    add(Role::kAttentionNorm, {hidden_});
    std::visit([&](const auto& kind) { part(kind); }, layer.attention);
    add(Role::kMlpNorm, {hidden_});
    std::visit([&](const auto& kind) { part(kind); }, layer.mlp);
  }

  void add(Role role, const bridge::Shape& shape, int64_t expert = -1) const {
    visit_(TensorId{role, section_, index_, expert}, shape);
  }

 private:
  void part(const GroupedAttention& attention) const {
    const int64_t q = attention.heads * attention.head_dim;
    const int64_t kv = attention.kv_heads * attention.head_dim;
    add(Role::kQ, {q, hidden_});
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
    for (int64_t expert = 0; expert < mlp.router.experts; ++expert) {
      add(Role::kExpertGate, {mlp.width, hidden_}, expert);
      add(Role::kExpertUp, {mlp.width, hidden_}, expert);
      add(Role::kExpertDown, {hidden_, mlp.width}, expert);
    }
    if (mlp.shared_width > 0) {
      add(Role::kSharedGate, {mlp.shared_width, hidden_});
      add(Role::kSharedUp, {mlp.shared_width, hidden_});
      add(Role::kSharedDown, {hidden_, mlp.shared_width});
    }
  }

  int64_t hidden_;
  Section section_;
  int64_t index_;
  const TensorVisitor& visit_;
};

}  // namespace

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
    case Role::kSharedGate:
      return "shared.gate";
    case Role::kSharedUp:
      return "shared.up";
    case Role::kSharedDown:
      return "shared.down";
    case Role::kMtpEmbeddingNorm:
      return "embedding_norm";
    case Role::kMtpHiddenNorm:
      return "hidden_norm";
    case Role::kMtpProjection:
      return "projection";
  }
  return "";
}

std::string to_string(const TensorId& id) {
  std::string name;
  if (id.section == Section::kLayer) name = fmt::format("layers.{}.", id.index);
  if (id.section == Section::kMtp) {
    name = fmt::format("mtp.{}.{}", id.index, is_frame(id.role) ? "" : "layer.");
  }
  if (id.expert >= 0) name += fmt::format("experts.{}.", id.expert);
  return name.append(role_name(id.role));
}

void for_each_tensor(const ModelConfig& config, const TensorVisitor& visit) {
  const int64_t hidden = config.hidden;
  visit({Role::kEmbedding}, {config.vocab, hidden});
  for (size_t i = 0; i < config.layers.size(); ++i) {
    LayerTensors(hidden, Section::kLayer, static_cast<int64_t>(i), visit).all(config.layers[i]);
  }
  visit({Role::kFinalNorm}, {hidden});
  for (size_t i = 0; i < config.mtp.size(); ++i) {
    const LayerTensors depth(hidden, Section::kMtp, static_cast<int64_t>(i), visit);
    depth.add(Role::kMtpEmbeddingNorm, {hidden});
    depth.add(Role::kMtpHiddenNorm, {hidden});
    depth.add(Role::kMtpProjection, {hidden, 2 * hidden});
    depth.all(config.mtp[i]);
    depth.add(Role::kMtpFinalNorm, {hidden});
  }
  if (!config.tied) visit({Role::kOutput}, {config.vocab, hidden});
}

}  // namespace models
