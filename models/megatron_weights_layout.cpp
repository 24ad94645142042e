#include "models/megatron_weights_layout.h"

#include <fmt/format.h>

#include <string_view>
#include <variant>

#include "bridge/io/error.h"

namespace models {
namespace {

// Tensors that a key holds alone. Two names: the local specification's, or TransformerEngine's, is the second.
struct Plain {
  Role role;
  std::string_view name;
  std::string_view other = {};
};

constexpr Plain kGroupedNorm = {Role::kAttentionNorm, "self_attention.linear_qkv.layer_norm_weight",
                                "input_layernorm.weight"};
constexpr Plain kLatentNorm = {Role::kAttentionNorm, "input_layernorm.weight"};

constexpr Plain kPlain[] = {
    {Role::kFinalNorm, "decoder.final_layernorm.weight"},
    {Role::kMlpNorm, "mlp.linear_fc1.layer_norm_weight", "pre_mlp_layernorm.weight"},
    {Role::kO, "self_attention.linear_proj.weight"},
    {Role::kOBias, "self_attention.linear_proj.bias"},
    {Role::kQNorm, "self_attention.q_layernorm.weight"},
    {Role::kKNorm, "self_attention.k_layernorm.weight"},
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
    {Role::kSharedDown, "mlp.shared_experts.linear_fc2.weight"},
    {Role::kMtpEmbeddingNorm, "enorm.weight"},
    {Role::kMtpHiddenNorm, "hnorm.weight"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "final_layernorm.weight"},
};

std::vector<MegatronPlace> named(const Plain& plain) {
  std::vector<MegatronPlace> places = {{std::string(plain.name), false, {}}};
  if (!plain.other.empty()) places.push_back({std::string(plain.other), false, {}});
  return places;
}

// Gate rows, then up rows; or blocks of `interleave` rows of each in turn.
RowPattern half_of(int64_t width, bool up, int64_t interleave) {
  const int64_t run = interleave > 0 ? interleave : width;
  return {width, up ? run : 0, run, 2 * run, 2 * width};
}

// As singleton_local_shards names the two.
std::string_view singleton_suffix(bool up) {
  return up ? "_v" : "_w";
}

}  // namespace

const LayerConfig& MegatronLayout::layer(const TensorId& id) const {
  return (id.section == Section::kMtp ? config_.mtp : config_.layers)
      .at(static_cast<size_t>(id.index));
}

std::vector<MegatronPlace> MegatronLayout::places_of_qkv(const TensorId& id) const {
  const GroupedAttention* attention = std::get_if<GroupedAttention>(&layer(id).attention);
  if (attention == nullptr) return {{"self_attention.linear_q_proj.weight", false, {}}};
  const int64_t d = attention->head_dim;
  const int64_t queries = attention->heads / attention->kv_heads * d;
  const int64_t group = queries + 2 * d;
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
    case Role::kKBias:
      bias = true;
      [[fallthrough]];
    case Role::kK:
      rows.first = queries;
      break;
    default:
      bias = id.role == Role::kVBias;
      rows.first = queries + d;
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
    width = std::get<MixtureOfExperts>(layer(id).mlp).shared_width;
  } else {
    width = std::get<DenseMlp>(layer(id).mlp).width;
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
  const bool down = id.role == Role::kExpertDown;
  const bool up = id.role == Role::kExpertUp;
  const std::string_view linear = down ? "linear_fc2" : "linear_fc1";
  const std::string together = fmt::format("mlp.experts.experts.{}.weight", linear);
  const std::string alone = fmt::format("mlp.experts.experts.{}.{}.weight", id.expert, linear);
  if (glu_interleave_ < 0 || (glu_interleave_ > 0 && mlp.width % glu_interleave_ != 0)) {
    bridge::bad_input(
        fmt::format("moe_mlp_glu_interleave_size {} does not divide experts of {} rows",
                    glu_interleave_, mlp.width));
  }
  const RowPattern rows = down ? RowPattern{} : half_of(mlp.width, up, glu_interleave_);
  std::vector<MegatronPlace> places = {{together, true, rows}, {alone, false, rows}};
  if (!down) {
    const std::string_view suffix = singleton_suffix(up);
    places.push_back({fmt::format("{}{}", together, suffix), true, {}});
    places.push_back({fmt::format("{}{}", alone, suffix), false, {}});
  }
  return places;
}

std::vector<MegatronPlace> MegatronLayout::places(const TensorId& id) const {
  switch (id.role) {
    case Role::kEmbedding:
      return {{"embedding.word_embeddings.weight",
               false,
               {config_.vocab, 0, config_.vocab, config_.vocab, 0}}};
    case Role::kOutput:
      return {{"output_layer.weight", false, {config_.vocab, 0, config_.vocab, config_.vocab, 0}}};
    case Role::kQ:
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
      return places_of_expert(id);
    case Role::kAttentionNorm:
      return named(std::holds_alternative<LatentAttention>(layer(id).attention) ? kLatentNorm
                                                                                : kGroupedNorm);
    default:
      for (const Plain& plain : kPlain) {
        if (plain.role == id.role) return named(plain);
      }
      bridge::internal_error(fmt::format("{} has no Megatron key", to_string(id)));
  }
}

}  // namespace models
