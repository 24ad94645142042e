#include "mappings/binding/quantization_targets.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;

constexpr std::string_view kPattern = "re:";
constexpr std::string_view kLinear = "Linear";
constexpr size_t kMostGroups = 64;

// An entry of a list.
const std::string& entry_of(const Json& json, std::string_view list) {
  if (!json.is_string()) bad_input(fmt::format("{} has an entry that is no text", list));
  return json.get_ref<const std::string&>();
}

void add_pattern(const std::string& entry,
                 std::vector<std::pair<std::string, bridge::PythonRegex>>& patterns) {
  if (!entry.starts_with(kPattern)) return;
  if (patterns.size() == bridge::PythonRegex::kMostInList) {
    bad_input(fmt::format("more than {} regular expressions", patterns.size()),
              "write one of them for several modules: re:.*(q|k|v)_proj");
  }
  patterns.emplace_back(entry, bridge::PythonRegex(entry.substr(kPattern.size())));
}

}  // namespace

QuantizationTargets::QuantizationTargets(const Json& groups, const Json& ignore) {
  if (!groups.is_object()) bad_input("config_groups is no object");
  if (groups.size() > kMostGroups) {
    bad_input(fmt::format("{} config_groups (at most {})", groups.size(), kMostGroups));
  }
  for (const auto& [name, group] : groups.items()) {
    if (group.is_array()) {
      bridge::unsupported(
          fmt::format("config_groups.{} is the name of a preset", printable(name)),
          "write out its weights and targets, as compressed-tensors does when it saves a model");
    }
    const Json* const targets =
        group.is_object() && group.contains("targets") ? &group["targets"] : nullptr;
    if (targets == nullptr || !targets->is_array()) {
      bad_input(fmt::format("config_groups.{} has no list of targets", printable(name)));
    }
    for (const Json& target : *targets) {
      targets_[entry_of(target, "targets")] = static_cast<int32_t>(group_names_.size());
    }
    group_names_.push_back(name);
  }
  for (const auto& [target, group] : targets_) add_pattern(target, patterns_);
  if (ignore.is_null()) return;
  if (!ignore.is_array()) bad_input("ignore is no list");
  for (const Json& entry : ignore) {
    const std::string& text = entry_of(entry, "ignore");
    ignored_.insert(text);
    add_pattern(text, ignored_patterns_);
  }
}

std::string QuantizationTargets::has_target(int32_t group, std::string_view target) const {
  return fmt::format("config_groups.{} has the target '{}'",
                     printable(group_names_[static_cast<size_t>(group)]), printable(target));
}

QuantizationTargets::Match QuantizationTargets::of(std::string_view module) const {
  const auto ignores = [](std::string_view entry) {
    return Match{kNone, fmt::format("ignore has '{}'", printable(entry))};
  };
  // An entry that is a regular expression is nobody's name.
  const bool may_be_named = !module.starts_with(kPattern);
  if (may_be_named && ignored_.contains(module)) return ignores(module);
  if (ignored_.contains(kLinear)) return ignores(kLinear);
  for (const auto& [entry, regex] : ignored_patterns_) {
    if (regex.matches_start_of(module)) return ignores(entry);
  }
  const auto found = targets_.find(module);
  if (may_be_named && found != targets_.end())
    return {found->second, has_target(found->second, module)};
  for (const auto& [target, regex] : patterns_) {
    if (!regex.matches_start_of(module)) continue;
    const int32_t group = targets_.find(target)->second;
    return {group, has_target(group, target)};
  }
  const auto linear = targets_.find(kLinear);
  if (linear != targets_.end()) return {linear->second, has_target(linear->second, kLinear)};
  return {kNone, "no target of config_groups matches it"};
}

std::string_view module_of(std::string_view tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : tensor.substr(0, dot);
}

}  // namespace mappings
