#include "models/hf/deepseek_v4_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "models/hf/names.h"

namespace models {
namespace {

struct Spellings {
  Role role;
  std::string_view names[4];  // {} is the expert's number; empty ones are none
};

constexpr Spellings kModel[] = {
    {Role::kEmbedding, {"embed.weight", "embed_tokens.weight"}},
    {Role::kFinalNorm, {"norm.weight"}},
    {Role::kHeadMapping, {"hc_head_fn", "hc_head.hc_fn"}},
    {Role::kHeadMappingBase, {"hc_head_base", "hc_head.hc_base"}},
    {Role::kHeadMappingScale, {"hc_head_scale", "hc_head.hc_scale"}},
};

// Beside its layer.
constexpr Spellings kDepth[] = {
    {Role::kMtpEmbeddingNorm, {"enorm.weight"}},
    {Role::kMtpHiddenNorm, {"hnorm.weight"}},
    {Role::kMtpEmbeddingProjection, {"e_proj.weight"}},
    {Role::kMtpHiddenProjection, {"h_proj.weight"}},
    {Role::kMtpFinalNorm, {"norm.weight", "final_layernorm.weight"}},
    {Role::kHeadMapping, {"hc_head_fn"}},
    {Role::kHeadMappingBase, {"hc_head_base"}},
    {Role::kHeadMappingScale, {"hc_head_scale"}},
};

constexpr Spellings kLayer[] = {
    {Role::kAttentionMapping, {"hc_attn_fn", "attn_hc.fn"}},
    {Role::kAttentionMappingBase, {"hc_attn_base", "attn_hc.base"}},
    {Role::kAttentionMappingScale, {"hc_attn_scale", "attn_hc.scale"}},
    {Role::kMlpMapping, {"hc_ffn_fn", "ffn_hc.fn"}},
    {Role::kMlpMappingBase, {"hc_ffn_base", "ffn_hc.base"}},
    {Role::kMlpMappingScale, {"hc_ffn_scale", "ffn_hc.scale"}},
    {Role::kAttentionNorm, {"attn_norm.weight", "input_layernorm.weight"}},
    {Role::kMlpNorm, {"ffn_norm.weight", "post_attention_layernorm.weight"}},
    {Role::kQDown, {"attn.wq_a.weight", "self_attn.q_a_proj.weight"}},
    {Role::kQDownNorm, {"attn.q_norm.weight", "self_attn.q_a_norm.weight"}},
    {Role::kQUp, {"attn.wq_b.weight", "self_attn.q_b_proj.weight"}},
    {Role::kKv, {"attn.wkv.weight", "self_attn.kv_proj.weight"}},
    {Role::kKvNorm,
     {"attn.kv_norm.weight", "self_attn.kv_norm.weight", "attn.norm.weight",
      "self_attn.norm.weight"}},
    {Role::kSink, {"attn.attn_sink", "self_attn.sinks"}},
    {Role::kODown, {"attn.wo_a.weight", "self_attn.o_a_proj.weight"}},
    {Role::kOUp, {"attn.wo_b.weight", "self_attn.o_b_proj.weight"}},
    {Role::kSummaryValue, {"attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight"}},
    {Role::kSummaryGate, {"attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight"}},
    {Role::kSummaryPlace, {"attn.compressor.ape", "self_attn.compressor.position_bias"}},
    {Role::kSummaryNorm,
     {"attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight",
      "self_attn.compressor.norm.weight"}},
    {Role::kIndexQ, {"attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight"}},
    {Role::kIndexWeights,
     {"attn.indexer.weights_proj.weight", "attn.indexer.scorer.weights_proj.weight",
      "self_attn.compressor.indexer.scorer.weights_proj.weight"}},
    {Role::kIndexValue,
     {"attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight"}},
    {Role::kIndexGate,
     {"attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight"}},
    {Role::kIndexPlace,
     {"attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias"}},
    {Role::kIndexNorm,
     {"attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight",
      "self_attn.compressor.indexer.norm.weight"}},
    {Role::kRouter, {"ffn.gate.weight", "mlp.gate.weight"}},
    {Role::kRouterBias, {"ffn.gate.bias", "mlp.gate.e_score_correction_bias"}},
    {Role::kRouterTable, {"ffn.gate.tid2eid", "mlp.gate.tid2eid"}},
    {Role::kExpertGate, {"ffn.experts.{}.w1.weight"}},
    {Role::kExpertUp, {"ffn.experts.{}.w3.weight"}},
    {Role::kExpertDown, {"ffn.experts.{}.w2.weight"}},
    {Role::kSharedGate, {"ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight"}},
    {Role::kSharedUp, {"ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight"}},
    {Role::kSharedDown, {"ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight"}},
};

template <size_t N>
std::vector<HfPlace> spelled(const Spellings (&list)[N], const TensorId& id,
                             const std::string& prefix) {
  std::vector<HfPlace> places;
  for (const Spellings& spellings : list) {
    if (spellings.role != id.role) continue;
    for (const std::string_view name : spellings.names) {
      if (name.empty()) break;
      places.push_back({prefix + fmt::format(fmt::runtime(name), id.expert)});
    }
  }
  return places;
}

// Experts are one by one, or all in one tensor.
std::vector<HfPlace> layer_places(const HfModel& model, const TensorId& id,
                                  const std::string& prefix) {
  std::vector<HfPlace> places = spelled(kLayer, id, prefix);
  if (places.empty()) no_hf_name(id);
  if (id.role == Role::kExpertDown) {
    places.push_back({prefix + "mlp.experts.down_proj", true});
  } else if (id.role == Role::kExpertGate || id.role == Role::kExpertUp) {
    const int64_t width = std::get<MixtureOfExperts>(model.layer(id).mlp).width;
    places.push_back(
        {prefix + "mlp.experts.gate_up_proj", true, gate_or_up(width, id.role == Role::kExpertUp)});
  }
  return places;
}

// A depth has its own module, or is a layer after the last.
std::vector<HfPlace> depth_places(const HfModel& model, const TensorId& id) {
  const int64_t hidden = model.config.hidden;
  std::vector<HfPlace> places;
  for (const HfDepthStart& start : deepseek_v4_depth_starts(model)) {
    const std::string prefix =
        fmt::format("{}{}.", start.text, start.first + static_cast<size_t>(id.index));
    std::vector<HfPlace> here = spelled(kDepth, id, prefix);
    if (here.empty()) here = layer_places(model, id, prefix);
    if (id.role == Role::kMtpEmbeddingProjection || id.role == Role::kMtpHiddenProjection) {
      const int64_t first = id.role == Role::kMtpHiddenProjection ? hidden : 0;
      here.push_back({prefix + "eh_proj.weight", false, {}, {first, hidden, 2 * hidden}});
    }
    std::move(here.begin(), here.end(), std::back_inserter(places));
  }
  return places;
}

}  // namespace

std::vector<HfDepthStart> deepseek_v4_depth_starts(const HfModel& model) {
  const size_t layers = model.config.layers.size();
  return {{"mtp.", 0}, {"layers.", layers}, {"model.layers.", layers}};
}

std::vector<HfPlace> deepseek_v4_places(const HfModel& model, const TensorId& id) {
  if (id.role == Role::kOutput) return {{"head.weight"}, {"lm_head.weight"}};
  if (id.section == Section::kModel) return spelled(kModel, id, model.prefix);
  if (id.section == Section::kLayer) {
    return layer_places(model, id, fmt::format("{}layers.{}.", model.prefix, id.index));
  }
  return depth_places(model, id);
}

}  // namespace models
