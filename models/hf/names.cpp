#include "models/hf/names.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

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

void no_hf_name(const TensorId& id) {
  bridge::internal_error(fmt::format("{} has no Hugging Face name", to_string(id)));
}

HfNames::HfNames(const HfArchitecture& architecture, const ModelConfig& config, std::string prefix)
    : architecture_(architecture), model_{config, std::move(prefix)} {}

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
