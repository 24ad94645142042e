#include "models/hf/names.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>
#include <variant>

#include "bridge/io/base/error.h"
#include "models/hf/vision.h"
#include "models/model/vision_tensors.h"

namespace models {

std::string_view hf_name(std::span<const HfName> names, Role role) {
  for (const HfName& name : names) {
    if (name.role == role) return name.name;
  }
  return {};
}

std::string_view hf_mtp_frame_name(Role role) {
  static constexpr HfName kFrame[] = {
      {Role::kMtpEmbeddingNorm, "mtp.pre_fc_norm_embedding.weight"},
      {Role::kMtpHiddenNorm, "mtp.pre_fc_norm_hidden.weight"},
      {Role::kMtpProjection, "mtp.fc.weight"},
      {Role::kMtpFinalNorm, "mtp.norm.weight"},
  };
  return hf_name(kFrame, role);
}

std::optional<HfPlace> hf_packed_expert(const HfModel& model, const TensorId& id,
                                        const std::string& layer) {
  const auto* const experts = std::get_if<MixtureOfExperts>(&model.layer(id).mlp);
  if (experts == nullptr) return std::nullopt;
  HfPlace place{.name = {}, .expert_axis = true, .transposed = model.transposed_experts};
  switch (id.role) {
    case Role::kExpertGate:
    case Role::kExpertUp:
      place.name = layer + "mlp.experts.gate_up_proj";
      place.rows = gate_or_up(experts->width, id.role == Role::kExpertUp);
      return place;
    case Role::kExpertDown:
      place.name = layer + "mlp.experts.down_proj";
      return place;
    default:
      return std::nullopt;
  }
}

void no_hf_name(const TensorId& id) {
  bridge::internal_error(fmt::format("{} has no Hugging Face name", to_string(id)));
}

HfNames::HfNames(const HfArchitecture& architecture, const ModelConfig& config, std::string prefix,
                 bool transposed_experts)
    : architecture_(architecture), model_{config, std::move(prefix), transposed_experts} {}

std::vector<HfPlace> HfNames::places(const TensorId& id) const {
  if (is_vision(id)) return hf_vision_places(model_.config.vision.value(), id);
  return architecture_.places(model_, id);
}

bool HfNames::is_unused(std::string_view name) const {
  return copy_of(name) || name.ends_with("rotary_emb.inv_freq");
}

std::optional<HfNames::InDepth> HfNames::in_depth(std::string_view name) const {
  if (architecture_.depths.starts == nullptr) return std::nullopt;
  for (const HfDepthStart& start : architecture_.depths.starts(model_)) {
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
  const ModelConfig& config = model_.config;
  const TensorId embedding{Role::kEmbedding};
  const TensorId output = config.tied ? embedding : TensorId{Role::kOutput};
  if (config.tied && (name == "lm_head.weight" || name == "head.weight")) return embedding;
  const std::optional<InDepth> found = in_depth(name);
  if (!found || found->depth >= config.mtp.size()) return std::nullopt;
  if (found->inner == architecture_.depths.embedding_copy) return embedding;
  if (found->inner == architecture_.depths.output_copy) return output;
  return std::nullopt;
}

}  // namespace models
