#include "models/hf/training.h"

#include <optional>
#include <string_view>

namespace models {

TrainingSettings hf_training(const Settings& config) {
  const std::optional<Settings> inner = config.section("text_config");
  const Settings& text = inner ? *inner : config;
  for (const std::string_view name :
       {"attention_dropout", "hidden_dropout", "router_jitter_noise"}) {
    if (text.real_or(name, 0) != 0) {
      text.not_supported(name, "a training step is computed without it, so it must be 0");
    }
  }
  return {};
}

}  // namespace models
