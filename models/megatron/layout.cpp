#include "models/megatron/layout.h"

#include <fmt/format.h>

#include <string_view>
#include <variant>

#include "bridge/io/base/error.h"
#include "models/megatron/vision.h"
#include "models/model/vision_tensors.h"

namespace models {
namespace {

// A tensor with a key of its own. Where there are two names, one is that of the local specification
// and the other that of TransformerEngine, or one GPTModel's and the other HybridModel's; those of
// q and k norms are Megatron-Core's and mcore-bridge's.
struct Plain {
  Role role;
  std::string_view name;
  std::string_view other = {};
};

constexpr Plain kGroupedNorm = {Role::kAttentionNorm, "self_attention.linear_qkv.layer_norm_weight",
                                "input_layernorm.weight"};
constexpr Plain kLatentNorm = {Role::kAttentionNorm, "input_layernorm.weight"};

constexpr Plain kPlain[] = {
    {Role::kFinalNorm, "decoder.final_layernorm.weight", "decoder.final_norm.weight"},
    {Role::kFinalNormBias, "decoder.final_layernorm.bias", "decoder.final_norm.bias"},
    {Role::kAttentionNormBias, "self_attention.linear_qkv.layer_norm_bias", "input_layernorm.bias"},
    {Role::kMlpNormBias, "mlp.linear_fc1.layer_norm_bias", "pre_mlp_layernorm.bias"},
    {Role::kAttentionPostNorm, "self_attention.linear_proj.post_layernorm.weight",
     "self_attention.post_self_attn_layernorm.weight"},
    {Role::kMlpPostNorm, "mlp.linear_fc2.post_layernorm.weight", "mlp.post_mlp_layernorm.weight"},
    {Role::kMlpNorm, "mlp.linear_fc1.layer_norm_weight", "pre_mlp_layernorm.weight"},
    {Role::kO, "self_attention.linear_proj.weight"},
    {Role::kOBias, "self_attention.linear_proj.bias"},
    {Role::kQNorm, "self_attention.q_layernorm.weight", "self_attention.q_norm.weight"},
    {Role::kKNorm, "self_attention.k_layernorm.weight", "self_attention.k_norm.weight"},
    {Role::kQDown, "self_attention.linear_q_down_proj.weight"},
    {Role::kQDownNorm, "self_attention.linear_q_up_proj.layer_norm_weight",
     "self_attention.q_layernorm.weight"},
    {Role::kQUp, "self_attention.linear_q_up_proj.weight"},
    {Role::kKvDown, "self_attention.linear_kv_down_proj.weight"},
    {Role::kKvDownNorm, "self_attention.linear_kv_up_proj.layer_norm_weight",
     "self_attention.kv_layernorm.weight"},
    {Role::kKvUp, "self_attention.linear_kv_up_proj.weight"},
    {Role::kDown, "mlp.linear_fc2.weight"},
    {Role::kDownBias, "mlp.linear_fc2.bias"},
    {Role::kRouter, "mlp.router.weight"},
    {Role::kRouterBias, "mlp.router.expert_bias"},
    {Role::kRouterLogitBias, "mlp.router.bias"},
    {Role::kSharedDown, "mlp.shared_experts.linear_fc2.weight"},
    {Role::kSharedWeight, "mlp.shared_experts.gate_weight"},
    {Role::kLatentDown, "mlp.fc1_latent_proj.weight"},
    {Role::kLatentUp, "mlp.fc2_latent_proj.weight"},
    {Role::kKv, "self_attention.linear_kv_proj.weight"},
    {Role::kKvNorm, "self_attention.kv_layernorm.weight"},
    {Role::kSink, "self_attention.core_attention.attn_sink",
     "self_attention.core_attention.softmax_offset"},
    {Role::kODown, "self_attention.linear_o_group_proj"},
    {Role::kOUp, "self_attention.linear_proj.weight"},
    {Role::kSummaryValue, "self_attention.core_attention.compressor.linear_wkv.weight"},
    {Role::kSummaryGate, "self_attention.core_attention.compressor.linear_wgate.weight"},
    {Role::kSummaryPlace, "self_attention.core_attention.compressor.ape"},
    {Role::kSummaryNorm, "self_attention.core_attention.compressor.norm.weight"},
    {Role::kIndexQ, "self_attention.core_attention.indexer.linear_wq_b.weight"},
    {Role::kIndexWeights, "self_attention.core_attention.indexer.linear_weights_proj.weight"},
    {Role::kIndexValue, "self_attention.core_attention.indexer.compressor.linear_wkv.weight"},
    {Role::kIndexGate, "self_attention.core_attention.indexer.compressor.linear_wgate.weight"},
    {Role::kIndexPlace, "self_attention.core_attention.indexer.compressor.ape"},
    {Role::kIndexNorm, "self_attention.core_attention.indexer.compressor.norm.weight"},
    {Role::kIndexKey, "self_attention.core_attention.indexer.linear_wk.weight"},
    {Role::kIndexKeyNorm, "self_attention.core_attention.indexer.k_norm.weight"},
    {Role::kIndexKeyNormBias, "self_attention.core_attention.indexer.k_norm.bias"},
    {Role::kAttentionMapping, "self_attention_hyper_connection.mapping_proj.weight"},
    {Role::kAttentionMappingBase, "self_attention_hyper_connection.bias"},
    {Role::kMlpMapping, "mlp_hyper_connection.mapping_proj.weight"},
    {Role::kMlpMappingBase, "mlp_hyper_connection.bias"},
    {Role::kMtpEmbeddingProjection, "e_proj.weight"},
    {Role::kMtpHiddenProjection, "h_proj.weight"},
    {Role::kMtpEmbeddingNorm, "enorm.weight"},
    {Role::kMtpHiddenNorm, "hnorm.weight"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "final_layernorm.weight"},
};

constexpr Plain kLinear[] = {
    {Role::kAttentionNorm, "self_attention.in_proj.layer_norm_weight", "input_layernorm.weight"},
    {Role::kQ, "self_attention.in_proj.weight.query"},
    {Role::kK, "self_attention.in_proj.weight.key"},
    {Role::kV, "self_attention.in_proj.weight.value"},
    {Role::kZ, "self_attention.in_proj.weight.z"},
    {Role::kBeta, "self_attention.in_proj.weight.beta"},
    {Role::kAlpha, "self_attention.in_proj.weight.alpha"},
    {Role::kQConv, "self_attention.conv1d.weight.query"},
    {Role::kKConv, "self_attention.conv1d.weight.key"},
    {Role::kVConv, "self_attention.conv1d.weight.value"},
    {Role::kDecay, "self_attention.A_log"},
    {Role::kDecayBias, "self_attention.dt_bias"},
    {Role::kHeadNorm, "self_attention.out_norm.weight"},
    {Role::kO, "self_attention.out_proj.weight"},
};

// The other name of the norm is that of a specification without TransformerEngine's fused one.
constexpr Plain kMamba[] = {
    {Role::kAttentionNorm, "mixer.in_proj.layer_norm_weight", "norm.weight"},
    {Role::kZ, "mixer.in_proj.weight.z"},
    {Role::kScanX, "mixer.in_proj.weight.x"},
    {Role::kScanB, "mixer.in_proj.weight.B"},
    {Role::kScanC, "mixer.in_proj.weight.C"},
    {Role::kStep, "mixer.in_proj.weight.dt"},
    {Role::kScanXConv, "mixer.conv1d.weight.x"},
    {Role::kScanBConv, "mixer.conv1d.weight.B"},
    {Role::kScanCConv, "mixer.conv1d.weight.C"},
    {Role::kScanXConvBias, "mixer.conv1d.bias.x"},
    {Role::kScanBConvBias, "mixer.conv1d.bias.B"},
    {Role::kScanCConvBias, "mixer.conv1d.bias.C"},
    {Role::kStepBias, "mixer.dt_bias"},
    {Role::kDecay, "mixer.A_log"},
    {Role::kSkip, "mixer.D"},
    {Role::kScanNorm, "mixer.norm.weight"},
    {Role::kO, "mixer.out_proj.weight"},
};

std::vector<MegatronPlace> named(const Plain& plain) {
  std::vector<MegatronPlace> places = {{std::string(plain.name), false, {}}};
  if (!plain.other.empty()) places.push_back({std::string(plain.other), false, {}});
  return places;
}

// Gate rows, then up rows; or alternating blocks of `interleave` rows of each.
RowPattern half_of(int64_t width, bool up, int64_t interleave) {
  const int64_t run = interleave > 0 ? interleave : width;
  return {width, up ? run : 0, run, 2 * run, 2 * width};
}

std::vector<MegatronPlace> scales(const std::string& module) {
  MegatronPlace place{module + ".alpha_pre"};
  place.then = {module + ".alpha_post", module + ".alpha_res"};
  return {place};
}

// The key of a tensor of the decoder or of a multi-token prediction depth.
std::string head_key(const TensorId& id, std::string_view name) {
  return fmt::format("{}{}", id.section == Section::kModel ? "decoder." : "", name);
}

// The names that singleton_local_shards gives the two halves.
std::string_view singleton_suffix(bool up) {
  return up ? "_v" : "_w";
}

}  // namespace

bool is_post_norm(std::string_view key) {
  for (const Plain& plain : kPlain) {
    if (plain.role != Role::kAttentionPostNorm && plain.role != Role::kMlpPostNorm) continue;
    if (key.ends_with(plain.name) || key.ends_with(plain.other)) return true;
  }
  return false;
}

const LayerConfig& MegatronLayout::layer(const TensorId& id) const {
  return (id.section == Section::kMtp ? config_.mtp : config_.layers)
      .at(static_cast<size_t>(id.index));
}

std::vector<MegatronPlace> MegatronLayout::places_of_qkv(const TensorId& id) const {
  const GroupedAttention* attention = std::get_if<GroupedAttention>(&layer(id).attention);
  if (attention == nullptr) return {{"self_attention.linear_q_proj.weight", false, {}}};
  const int64_t d = attention->head_dim;
  const int64_t queries = attention->heads / attention->kv_heads * d;
  const int64_t gates = attention->gated ? queries : 0;
  const int64_t group = queries + gates + 2 * d;
  RowPattern rows{attention->kv_heads * d, 0, d, group, attention->kv_heads * group};
  bool bias = false;
  switch (id.role) {
    case Role::kQBias:
      bias = true;
      [[fallthrough]];
    case Role::kQ:
      rows.count = attention->heads * d;
      rows.run = queries;
      break;
    case Role::kQGate:
      rows.count = attention->heads * d;
      rows.run = gates;
      rows.first = queries;
      break;
    case Role::kKBias:
      bias = true;
      [[fallthrough]];
    case Role::kK:
      rows.first = queries + gates;
      break;
    default:
      bias = id.role == Role::kVBias;
      rows.first = queries + gates + d;
      break;
  }
  return {
      {bias ? "self_attention.linear_qkv.bias" : "self_attention.linear_qkv.weight", false, rows}};
}

std::vector<MegatronPlace> MegatronLayout::places_of_gated(const TensorId& id) const {
  std::string_view linear = "mlp.linear_fc1";
  std::string_view kind = "weight";
  bool up = id.role == Role::kUp;
  int64_t width = 0;
  if (id.role == Role::kSharedGate || id.role == Role::kSharedUp) {
    linear = "mlp.shared_experts.linear_fc1";
    up = id.role == Role::kSharedUp;
    const auto& mlp = std::get<MixtureOfExperts>(layer(id).mlp);
    width = mlp.shared_width;
    if (!mlp.gated) return {{"mlp.shared_experts.linear_fc1.weight"}};
  } else {
    const DenseMlp& mlp = std::get<DenseMlp>(layer(id).mlp);
    width = mlp.width;
    if (!mlp.gated) {
      return {{id.role == Role::kUpBias ? "mlp.linear_fc1.bias" : "mlp.linear_fc1.weight"}};
    }
    if (id.role == Role::kGateBias || id.role == Role::kUpBias) {
      kind = "bias";
      up = id.role == Role::kUpBias;
    }
  }
  const std::string key = fmt::format("{}.{}", linear, kind);
  return {{key, false, half_of(width, up, 0)},
          {fmt::format("{}{}", key, singleton_suffix(up)), false, {}}};
}

std::vector<MegatronPlace> MegatronLayout::places_of_expert(const TensorId& id) const {
  const MixtureOfExperts& mlp = std::get<MixtureOfExperts>(layer(id).mlp);
  const bool bias = id.role == Role::kExpertGateBias || id.role == Role::kExpertUpBias ||
                    id.role == Role::kExpertDownBias;
  const bool down = id.role == Role::kExpertDown || id.role == Role::kExpertDownBias;
  const bool up = id.role == Role::kExpertUp || id.role == Role::kExpertUpBias;
  const std::string tensor =
      fmt::format("{}.{}", down ? "linear_fc2" : "linear_fc1", bias ? "bias" : "weight");
  const std::string together = fmt::format("mlp.experts.experts.{}", tensor);
  const std::string alone = fmt::format("mlp.experts.experts.{}.{}", id.expert, tensor);
  if (glu_interleave_ < 0 || (glu_interleave_ > 0 && mlp.width % glu_interleave_ != 0)) {
    bridge::bad_input(
        fmt::format("moe_mlp_glu_interleave_size {} does not divide experts of {} rows",
                    glu_interleave_, mlp.width));
  }
  const bool is_half = mlp.gated && !down;
  const RowPattern rows = is_half ? half_of(mlp.width, up, glu_interleave_) : RowPattern{};
  std::vector<MegatronPlace> places = {{together, true, rows}, {alone, false, rows}};
  if (is_half) {
    const std::string_view suffix = singleton_suffix(up);
    places.push_back({fmt::format("{}{}", together, suffix), true, {}});
    places.push_back({fmt::format("{}{}", alone, suffix), false, {}});
  }
  return places;
}

std::vector<MegatronPlace> MegatronLayout::places_of_mamba(const TensorId& id) {
  for (const Plain& plain : kMamba) {
    if (plain.role == id.role) return named(plain);
  }
  return {};
}

// Returns nothing for tensors that linear layers share with other layers.
std::vector<MegatronPlace> MegatronLayout::places_of_linear(const TensorId& id) const {
  for (const Plain& plain : kLinear) {
    if (plain.role != id.role) continue;
    std::vector<MegatronPlace> places = named(plain);
    places[0].without_one =
        id.role == Role::kHeadNorm && config_.norm.kind == NormKind::kZeroCentred;
    return places;
  }
  return {};
}

std::vector<MegatronPlace> MegatronLayout::places(const TensorId& id) const {
  if (is_vision(id)) return megatron_vision_places(config_.vision.value(), id);
  if (id.section != Section::kModel &&
      std::holds_alternative<DeltaAttention>(layer(id).attention)) {
    std::vector<MegatronPlace> places = places_of_linear(id);
    if (!places.empty()) return places;
  }
  if (id.section != Section::kModel && std::holds_alternative<Mamba2>(layer(id).attention)) {
    std::vector<MegatronPlace> places = places_of_mamba(id);
    if (!places.empty()) return places;
  }
  switch (id.role) {
    case Role::kEmbedding:
      return {{"embedding.word_embeddings.weight",
               false,
               {config_.vocab, 0, config_.vocab, config_.vocab, 0}}};
    case Role::kOutput:
      return {{"output_layer.weight",
               false,
               {config_.output_rows(), 0, config_.output_rows(), config_.output_rows(), 0}}};
    case Role::kRouterTable:
      return {{"mlp.router.tid2eid", false, {config_.vocab, 0, config_.vocab, config_.vocab, 0}}};
    case Role::kAttentionMappingScale:
      return scales("self_attention_hyper_connection");
    case Role::kMlpMappingScale:
      return scales("mlp_hyper_connection");
    case Role::kHeadMapping:
      return {{head_key(id, "hc_head_fn")}};
    case Role::kHeadMappingBase:
      return {{head_key(id, "hc_head_base")}};
    case Role::kHeadMappingScale:
      return {{head_key(id, "hc_head_scale")}};
    case Role::kQ:
    case Role::kQGate:
    case Role::kK:
    case Role::kV:
    case Role::kQBias:
    case Role::kKBias:
    case Role::kVBias:
      return places_of_qkv(id);
    case Role::kGate:
    case Role::kUp:
    case Role::kGateBias:
    case Role::kUpBias:
    case Role::kSharedGate:
    case Role::kSharedUp:
      return places_of_gated(id);
    case Role::kExpertGate:
    case Role::kExpertUp:
    case Role::kExpertDown:
    case Role::kExpertGateBias:
    case Role::kExpertUpBias:
    case Role::kExpertDownBias:
      return places_of_expert(id);
    case Role::kAttentionNorm:
      return named(std::holds_alternative<GroupedAttention>(layer(id).attention) ? kGroupedNorm
                                                                                 : kLatentNorm);
    default:
      for (const Plain& plain : kPlain) {
        if (plain.role == id.role) return named(plain);
      }
      bridge::internal_error(fmt::format("{} has no Megatron key", to_string(id)));
  }
}

}  // namespace models
