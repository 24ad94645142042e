#include "models/hf/compressed_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr std::string_view kExpression = "re:";

}  // namespace

LayerPattern::LayerPattern(std::string text) : text_(std::move(text)) {
  if (text_.starts_with(kExpression)) expression_.emplace(text_.substr(kExpression.size()));
}

bool LayerPattern::names(std::string_view layer) const {
  if (is_expression()) return expression_->matches_start_of(layer);
  return names_every_layer() || text_ == layer;
}

CompressedGroups::CompressedGroups(const Settings& quantization) {
  const std::optional<Settings> groups = quantization.section("config_groups");
  if (!groups || groups->empty()) {
    quantization.not_supported("config_groups", "groups with targets are read here");
  }
  constexpr size_t kMost = 2 * bridge::PythonRegex::kMostInList;  // of targets and ignore together
  size_t expressions = 0;
  const auto count = [&](const std::string& text) {
    if (text.starts_with(kExpression) && ++expressions > kMost) {
      quantization.refuse("config_groups",
                          fmt::format("more than {} regular expressions, with ignore", kMost));
    }
  };
  for (const std::string& name : groups->names()) {
    const size_t number = names_.size();
    const Settings group = groups->section(name).value();
    names_.push_back(name);
    weights_.push_back(group.section("weights"));
    for (std::string& target : group.texts("targets")) {
      count(target);
      // Of two groups with the same target the later one has its layers.
      std::erase_if(targets_, [&](const Target& each) { return each.pattern.text() == target; });
      targets_.push_back({LayerPattern(std::move(target)), number});
    }
  }
  std::sort(targets_.begin(), targets_.end(), [](const Target& a, const Target& b) {
    const auto rank = [](const LayerPattern& pattern) {
      return std::tuple(pattern.names_every_layer(), pattern.is_expression(),
                        std::string_view(pattern.text()));
    };
    return rank(a.pattern) < rank(b.pattern);
  });
  for (std::string& ignored : quantization.texts("ignore")) {
    count(ignored);
    ignored_.emplace_back(std::move(ignored));
  }
}

CompressedGroups::Found CompressedGroups::find(std::string_view layer) const {
  for (const LayerPattern& ignored : ignored_) {
    if (!ignored.names(layer)) continue;
    return {std::nullopt, fmt::format("'{}' is ignored", bridge::printable(ignored.text()))};
  }
  for (const Target& target : targets_) {
    if (!target.pattern.names(layer)) continue;
    return {target.group,
            fmt::format("'{}' is a target of {}", bridge::printable(target.pattern.text()),
                        bridge::printable(names_[target.group]))};
  }
  return {std::nullopt, "no group has it as a target"};
}

}  // namespace models
