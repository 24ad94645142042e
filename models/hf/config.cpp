#include "models/hf/config.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"

namespace models {

int64_t hf_layer_count(const Settings& config, std::string_view name,
                       std::optional<int64_t> absent) {
  const int64_t count = absent ? config.integer_or(name, *absent) : config.integer(name);
  if (count < 0 || count > kMostLayers) {
    config.refuse(name, fmt::format("{} is no number of layers", count));
  }
  return count;
}

bool hf_passes_over_mtp(const Settings& config) {
  const HfArchitecture& architecture = hf_architecture(config);
  return architecture.passes_over_mtp != nullptr && architecture.passes_over_mtp(config);
}

ModelConfig hf_model_config(const Settings& config, bool drop_mtp) {
  const HfArchitecture& architecture = hf_architecture(config);
  if (config.has("per_layer_config")) {
    config.not_supported("per_layer_config", "settings of single layers are not read here");
  }
  ModelConfig model = architecture.config(config, drop_mtp);
  bridge::with_context(config.where(), [&] { check(model); });
  return model;
}

}  // namespace models
