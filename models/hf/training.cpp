#include "models/hf/training.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/hf/rotary.h"

namespace models {
namespace {

// Only the classes of Qwen3.5 among those that are computed here have several sections.
std::optional<RotarySections> sections_of(const Settings& text, const std::string& type) {
  constexpr std::string_view kSections = "mrope_section";
  if (!type.starts_with("qwen3_5")) return std::nullopt;
  const std::optional<Settings> rope = hf_rope_section(text);
  if (!rope || !rope->has(kSections)) return rotary_sections({11, 11, 10}, /*interleaved=*/true);
  const std::optional<RotarySections> sections =
      rotary_sections(rope->integers(kSections), /*interleaved=*/true);
  if (!sections) rope->refuse(kSections, "not three numbers of pairs");
  return sections;
}

}  // namespace

TrainingSettings hf_training(const Settings& config) {
  const std::optional<Settings> inner = config.section("text_config");
  const Settings& text = inner ? *inner : config;
  for (const std::string_view name :
       {"attention_dropout", "hidden_dropout", "router_jitter_noise"}) {
    if (text.real_or(name, 0) != 0) {
      text.not_supported(name, "a training step is computed without it, so it must be 0");
    }
  }
  TrainingSettings settings;
  settings.sections = sections_of(text, config.text_or("model_type", ""));
  return settings;
}

}  // namespace models
