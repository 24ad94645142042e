#include "models/hf/training.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/hf/rotary.h"

namespace models {
namespace {

// The classes with several sections among those that are computed here, and their defaults.
struct Sections {
  std::string_view types;  // what their model types begin with
  std::array<int64_t, 3> pairs;
  bool interleaved;
};
constexpr Sections kSectioned[] = {{"qwen3_5", {11, 11, 10}, true},
                                   {"qwen3_vl", {24, 20, 20}, true},
                                   {"qwen2_5_vl", {16, 24, 24}, false}};

std::optional<RotarySections> sections_of(const Settings& text, const std::string& type) {
  constexpr std::string_view kSections = "mrope_section";
  const auto* const known =
      std::find_if(std::begin(kSectioned), std::end(kSectioned),
                   [&](const Sections& each) { return type.starts_with(each.types); });
  if (known == std::end(kSectioned)) return std::nullopt;
  const std::optional<Settings> rope = hf_rope_section(text);
  if (!rope || !rope->has(kSections)) return RotarySections{known->pairs, known->interleaved};
  const std::optional<RotarySections> sections =
      rotary_sections(rope->integers(kSections), known->interleaved);
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
