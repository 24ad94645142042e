#include "mappings/binding/hf_config_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

constexpr std::string_view kModelType = "model_type";

// Splits a key: the objects that lead to it, and its own name last.
std::vector<std::string> steps_of(const std::string& key) {
  std::vector<std::string> steps;
  size_t begin = 0;
  for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', begin)) {
    steps.push_back(key.substr(begin, dot - begin));
    begin = dot + 1;
  }
  steps.push_back(key.substr(begin));
  return steps;
}

// Returns the object that holds a key; nullptr if there is none.
const Json* parent_of(const Json& config, const std::vector<std::string>& steps) {
  const Json* object = &config;
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    const Json::const_iterator it = object->find(steps[i]);
    if (it == object->end() || !it->is_object()) return nullptr;
    object = &*it;
  }
  return object;
}

Json& make_parent(Json& config, const std::vector<std::string>& steps) {
  Json* object = &config;
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    Json& next = (*object)[steps[i]];
    if (!next.is_object()) next = Json::object();
    object = &next;
  }
  return *object;
}

const std::string& place_of(const HfConfigEntry& entry, const Json& config) {
  const std::string* place = &entry.keys.back();
  for (const std::string& key : entry.keys) {
    const std::vector<std::string> steps = steps_of(key);
    const Json* const parent = parent_of(config, steps);
    if (parent == nullptr) continue;
    if (parent->contains(steps.back())) return key;
    place = &key;
  }
  return *place;
}

std::optional<Json> value_of(const HfConfigEntry& entry, const Json& fields) {
  const Scope scope{&fields, {}};
  if (!entry.when.empty() && !entry.when.evaluate_bool(scope)) return std::nullopt;
  return entry.value.evaluate(scope);
}

// Calls fn for every entry, and adds the table's line to its errors.
template <typename Fn>
void for_each_entry(const Table& table, const Fn& fn) {
  for (const HfConfigEntry& entry : table.hf_config) {
    const auto where = [&] {
      return fmt::format("{}: hf_config at {}", bridge::printable(table.file), entry.place.text());
    };
    bridge::with_context(where, [&] { fn(entry); });
  }
}

}  // namespace

std::vector<ConfigChange> bring_up_to_date(const Table& table, const Json& before, const Json& now,
                                           Json& config) {
  std::vector<ConfigChange> changes;
  for_each_entry(table, [&](const HfConfigEntry& entry) {
    if (!entry.corrects) return;
    std::optional<Json> value = value_of(entry, now);
    if (!value || value == value_of(entry, before)) return;
    const std::string& key = place_of(entry, config);
    const std::vector<std::string> steps = steps_of(key);
    Json& place = make_parent(config, steps)[steps.back()];
    changes.push_back({key, place, *value});
    place = *std::move(value);
  });
  return changes;
}

bool derives_config(const Table& table) {
  return std::any_of(table.hf_config.begin(), table.hf_config.end(),
                     [](const HfConfigEntry& entry) { return entry.keys.back() == kModelType; });
}

Json derived_config(const Table& table, const Json& fields) {
  Json config = {{"architectures", nullptr},
                 {std::string(kModelType), nullptr}};  // first in the file
  for_each_entry(table, [&](const HfConfigEntry& entry) {
    if (!entry.derives) return;
    std::optional<Json> value = value_of(entry, fields);
    if (!value) return;
    const std::vector<std::string> steps = steps_of(entry.keys.back());
    make_parent(config, steps)[steps.back()] = *std::move(value);
  });
  return config;
}

}  // namespace mappings
