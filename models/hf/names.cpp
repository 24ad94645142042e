#include "models/hf/names.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "bridge/io/base/error.h"
#include "models/hf/vision.h"
#include "models/model/vision_tensors.h"

namespace models {
namespace {

struct Name {
  Role role;
  std::string_view name;  // {} is the expert's number
};

constexpr Name kEveryLayer[] = {
    {Role::kAttentionNorm, "input_layernorm.weight"},
    {Role::kMlpNorm, "post_attention_layernorm.weight"},
    {Role::kO, "self_attn.o_proj.weight"},
    {Role::kQ, "self_attn.q_proj.weight"},
    {Role::kK, "self_attn.k_proj.weight"},
    {Role::kV, "self_attn.v_proj.weight"},
    {Role::kQBias, "self_attn.q_proj.bias"},
    {Role::kKBias, "self_attn.k_proj.bias"},
    {Role::kVBias, "self_attn.v_proj.bias"},
    {Role::kOBias, "self_attn.o_proj.bias"},
    {Role::kQNorm, "self_attn.q_norm.weight"},
    {Role::kKNorm, "self_attn.k_norm.weight"},
    {Role::kQDown, "self_attn.q_a_proj.weight"},
    {Role::kQDownNorm, "self_attn.q_a_layernorm.weight"},
    {Role::kQUp, "self_attn.q_b_proj.weight"},
    {Role::kKvDown, "self_attn.kv_a_proj_with_mqa.weight"},
    {Role::kKvDownNorm, "self_attn.kv_a_layernorm.weight"},
    {Role::kKvUp, "self_attn.kv_b_proj.weight"},
    {Role::kGate, "mlp.gate_proj.weight"},
    {Role::kUp, "mlp.up_proj.weight"},
    {Role::kDown, "mlp.down_proj.weight"},
    {Role::kGateBias, "mlp.gate_proj.bias"},
    {Role::kUpBias, "mlp.up_proj.bias"},
    {Role::kDownBias, "mlp.down_proj.bias"},
};

constexpr Name kMixtralExperts[] = {
    {Role::kRouter, "block_sparse_moe.gate.weight"},
    {Role::kExpertGate, "block_sparse_moe.experts.{}.w1.weight"},
    {Role::kExpertUp, "block_sparse_moe.experts.{}.w3.weight"},
    {Role::kExpertDown, "block_sparse_moe.experts.{}.w2.weight"},
};

constexpr Name kExperts[] = {
    {Role::kRouter, "mlp.gate.weight"},
    {Role::kRouterBias, "mlp.gate.e_score_correction_bias"},
    {Role::kExpertGate, "mlp.experts.{}.gate_proj.weight"},
    {Role::kExpertUp, "mlp.experts.{}.up_proj.weight"},
    {Role::kExpertDown, "mlp.experts.{}.down_proj.weight"},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj.weight"},
    {Role::kSharedUp, "mlp.shared_experts.up_proj.weight"},
    {Role::kSharedDown, "mlp.shared_experts.down_proj.weight"},
};

constexpr Name kMtpFrame[] = {
    {Role::kMtpEmbeddingNorm, "enorm.weight"},
    {Role::kMtpHiddenNorm, "hnorm.weight"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "shared_head.norm.weight"},
};

template <size_t N>
std::string_view find(const Name (&names)[N], Role role) {
  for (const Name& name : names) {
    if (name.role == role) return name.name;
  }
  return {};
}

std::string_view name_in_layer(HfFamily family, Role role) {
  std::string_view name = find(kEveryLayer, role);
  if (name.empty()) {
    name = family == HfFamily::kMixtral ? find(kMixtralExperts, role) : find(kExperts, role);
  }
  if (name.empty()) name = find(kMtpFrame, role);
  return name;
}

}  // namespace

HfNames::HfNames(HfFamily family, const ModelConfig& config, std::string prefix)
    : family_(family), config_(config), prefix_(std::move(prefix)) {}

const LayerConfig& HfNames::layer(const TensorId& id) const {
  return (id.section == Section::kMtp ? config_.mtp : config_.layers)
      .at(static_cast<size_t>(id.index));
}

std::vector<HfPlace> HfNames::places(const TensorId& id) const {
  if (is_vision(id)) return hf_vision_places(config_.vision.value(), id);
  switch (family_) {
    case HfFamily::kDeepseekV4:
      return deepseek_v4_places(id);
    case HfFamily::kQwen3_5:
      return qwen3_5_places(id);
    default:
      return plain_places(id);
  }
}

std::vector<HfPlace> HfNames::plain_places(const TensorId& id) const {
  if (id.role == Role::kEmbedding) return {{prefix_ + "embed_tokens.weight"}};
  if (id.role == Role::kFinalNorm) return {{prefix_ + "norm.weight"}};
  if (id.role == Role::kOutput) return {{"lm_head.weight"}};
  const std::string_view inner = name_in_layer(family_, id.role);
  if (inner.empty()) {
    bridge::internal_error(fmt::format("{} has no Hugging Face name", to_string(id)));
  }
  const int64_t layer = id.section == Section::kMtp
                            ? static_cast<int64_t>(config_.layers.size()) + id.index
                            : id.index;
  return {
      {fmt::format("{}layers.{}.{}", prefix_, layer, fmt::format(fmt::runtime(inner), id.expert))}};
}

bool HfNames::is_unused(std::string_view name) const {
  return copy_of(name) || name.ends_with("rotary_emb.inv_freq");
}

std::optional<HfNames::InDepth> HfNames::in_depth(std::string_view name) const {
  // What stands before the number, and what number the first depth has.
  struct Start {
    std::string text;
    size_t first;
  };
  const size_t layers = config_.layers.size();
  std::vector<Start> starts;
  if (family_ == HfFamily::kDeepseekV3) starts = {{prefix_ + "layers.", layers}};
  if (family_ == HfFamily::kDeepseekV4) {
    starts = {{"mtp.", 0}, {"layers.", layers}, {"model.layers.", layers}};
  }
  for (const Start& start : starts) {
    if (!name.starts_with(start.text)) continue;
    const std::string_view rest = name.substr(start.text.size());
    size_t number = 0;
    const char* const last = rest.data() + rest.size();
    const auto [end, error] = std::from_chars(rest.data(), last, number);
    if (error != std::errc() || end == last || *end != '.' || number < start.first) continue;
    return InDepth{number - start.first, rest.substr(static_cast<size_t>(end - rest.data()) + 1)};
  }
  return std::nullopt;
}

bool HfNames::is_mtp(std::string_view name) const {
  return name.starts_with("mtp.") || in_depth(name).has_value();
}

std::optional<TensorId> HfNames::copy_of(std::string_view name) const {
  const TensorId embedding{Role::kEmbedding};
  const TensorId output = config_.tied ? embedding : TensorId{Role::kOutput};
  if (config_.tied && (name == "lm_head.weight" || name == "head.weight")) return embedding;
  const std::optional<InDepth> found = in_depth(name);
  if (!found || found->depth >= config_.mtp.size()) return std::nullopt;
  const bool v3 = family_ == HfFamily::kDeepseekV3;
  if (found->inner == (v3 ? "embed_tokens.weight" : "embed.weight")) return embedding;
  if (found->inner == (v3 ? "shared_head.head.weight" : "head.weight")) return output;
  return std::nullopt;
}

}  // namespace models
