#include "models/hf/qwen3_5_names.h"

#include <fmt/format.h>

#include <utility>

#include "models/hf/names.h"

namespace models {
namespace {

constexpr HfName kLinear[] = {
    {Role::kZ, "linear_attn.in_proj_z.weight"},     {Role::kBeta, "linear_attn.in_proj_b.weight"},
    {Role::kAlpha, "linear_attn.in_proj_a.weight"}, {Role::kDecay, "linear_attn.A_log"},
    {Role::kDecayBias, "linear_attn.dt_bias"},      {Role::kHeadNorm, "linear_attn.norm.weight"},
    {Role::kO, "linear_attn.out_proj.weight"},
};

constexpr HfName kFull[] = {
    {Role::kK, "self_attn.k_proj.weight"},     {Role::kV, "self_attn.v_proj.weight"},
    {Role::kO, "self_attn.o_proj.weight"},     {Role::kQNorm, "self_attn.q_norm.weight"},
    {Role::kKNorm, "self_attn.k_norm.weight"},
};

constexpr HfName kEveryLayer[] = {
    {Role::kAttentionNorm, "input_layernorm.weight"},
    {Role::kMlpNorm, "post_attention_layernorm.weight"},
    {Role::kGate, "mlp.gate_proj.weight"},
    {Role::kUp, "mlp.up_proj.weight"},
    {Role::kDown, "mlp.down_proj.weight"},
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kSharedGate, "mlp.shared_expert.gate_proj.weight"},
    {Role::kSharedUp, "mlp.shared_expert.up_proj.weight"},
    {Role::kSharedDown, "mlp.shared_expert.down_proj.weight"},
    {Role::kSharedWeight, "mlp.shared_expert_gate.weight"},
};

// The rows of queries (part 0), keys (1) or values (2) of a tensor that holds all queries, then all
// keys, then all values.
RowPattern part_of_qkv(const DeltaAttention& attention, int64_t part) {
  const int64_t key = attention.key_heads * attention.key_dim;
  const int64_t value = attention.value_heads * attention.value_dim;
  const int64_t count = part == 2 ? value : key;
  return {count, part * key, count, count, 2 * key + value};
}

// The rows of one part in Qwen3-Next, where the parts of each key head lie together.
RowPattern part_of_group(const DeltaAttention& attention, int64_t first, int64_t run,
                         int64_t stride) {
  return {attention.key_heads * run, first, run, stride, attention.key_heads * stride};
}

RowPattern part_of_qkvz(const DeltaAttention& attention, Role role) {
  const int64_t key = attention.key_dim;
  const int64_t value = attention.value_heads / attention.key_heads * attention.value_dim;
  const int64_t stride = 2 * key + 2 * value;
  switch (role) {
    case Role::kQ:
      return part_of_group(attention, 0, key, stride);
    case Role::kK:
      return part_of_group(attention, key, key, stride);
    case Role::kV:
      return part_of_group(attention, 2 * key, value, stride);
    default:
      return part_of_group(attention, 2 * key + value, value, stride);
  }
}

RowPattern part_of_ba(const DeltaAttention& attention, bool alpha) {
  const int64_t shared = attention.value_heads / attention.key_heads;
  return part_of_group(attention, alpha ? shared : 0, shared, 2 * shared);
}

// The place in Qwen3-Next's layout; empty for tensors that Qwen3-Next stores like the others.
std::vector<HfPlace> places_of_group(const DeltaAttention& attention, const TensorId& id,
                                     const std::string& prefix) {
  switch (id.role) {
    case Role::kQ:
    case Role::kK:
    case Role::kV:
    case Role::kZ:
      return {
          {prefix + "linear_attn.in_proj_qkvz.weight", false, part_of_qkvz(attention, id.role)}};
    case Role::kBeta:
    case Role::kAlpha:
      return {{prefix + "linear_attn.in_proj_ba.weight", false,
               part_of_ba(attention, id.role == Role::kAlpha)}};
    default:
      return {};
  }
}

std::vector<HfPlace> places_of_linear(const DeltaAttention& attention, const TensorId& id,
                                      const std::string& prefix) {
  const auto in = [&](std::string_view name, int64_t part) {
    return std::vector<HfPlace>{{fmt::format("{}linear_attn.{}.weight", prefix, name), false,
                                 part_of_qkv(attention, part)}};
  };
  switch (id.role) {
    case Role::kQ:
      return in("in_proj_qkv", 0);
    case Role::kK:
      return in("in_proj_qkv", 1);
    case Role::kV:
      return in("in_proj_qkv", 2);
    case Role::kQConv:
      return in("conv1d", 0);
    case Role::kKConv:
      return in("conv1d", 1);
    case Role::kVConv:
      return in("conv1d", 2);
    default: {
      const std::string_view name = hf_name(kLinear, id.role);
      if (name.empty()) return {};
      return {{prefix + std::string(name)}};
    }
  }
}

std::vector<HfPlace> places_of_full(const GroupedAttention& attention, const TensorId& id,
                                    const std::string& prefix) {
  if (id.role == Role::kQ || id.role == Role::kQGate) {
    const int64_t dim = attention.head_dim;
    const int64_t count = attention.heads * dim;
    const std::string name = prefix + "self_attn.q_proj.weight";
    if (!attention.gated) return {{name}};
    return {{name, false, {count, id.role == Role::kQGate ? dim : 0, dim, 2 * dim, 2 * count}}};
  }
  const std::string_view name = hf_name(kFull, id.role);
  if (name.empty()) return {};
  return {{prefix + std::string(name)}};
}

constexpr HfName kExpert[] = {
    {Role::kExpertGate, "gate_proj.weight"},
    {Role::kExpertUp, "up_proj.weight"},
    {Role::kExpertDown, "down_proj.weight"},
};

std::vector<HfPlace> places_of_expert(const HfModel& model, const TensorId& id,
                                      const std::string& prefix) {
  std::optional<HfPlace> packed = hf_packed_expert(model, id, prefix);
  if (!packed) return {};
  return {std::move(*packed),
          {fmt::format("{}mlp.experts.{}.{}", prefix, id.expert, hf_name(kExpert, id.role))}};
}

}  // namespace

std::vector<HfPlace> qwen3_5_places(const HfModel& model, const TensorId& id) {
  if (id.role == Role::kEmbedding) return {{model.prefix + "embed_tokens.weight"}};
  if (id.role == Role::kFinalNorm) return {{model.prefix + "norm.weight"}};
  if (id.role == Role::kOutput) return {{"lm_head.weight"}};
  if (const std::string_view name = hf_mtp_frame_name(id.role); !name.empty()) {
    return {{std::string(name)}};
  }
  const std::string prefix = id.section == Section::kMtp
                                 ? fmt::format("mtp.layers.{}.", id.index)
                                 : fmt::format("{}layers.{}.", model.prefix, id.index);
  if (const std::string_view name = hf_name(kEveryLayer, id.role); !name.empty()) {
    return {{prefix + std::string(name)}};
  }
  std::vector<HfPlace> places;
  if (const DeltaAttention* linear = std::get_if<DeltaAttention>(&model.layer(id).attention)) {
    places = places_of_linear(*linear, id, prefix);
    for (HfPlace& place : places_of_group(*linear, id, prefix)) places.push_back(std::move(place));
  } else if (const auto* full = std::get_if<GroupedAttention>(&model.layer(id).attention)) {
    places = places_of_full(*full, id, prefix);
  }
  if (places.empty()) places = places_of_expert(model, id, prefix);
  if (places.empty()) no_hf_name(id);
  return places;
}

}  // namespace models
