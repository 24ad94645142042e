#include "mappings/table/table_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "bridge/io/base/error.h"

namespace mappings {

using bridge::bad_input;
using bridge::printable;

void expect_keys(const Json& object, std::initializer_list<std::string_view> known) {
  expect_keys(object, std::span(known.begin(), known.size()));
}

void expect_keys(const Json& object, std::span<const std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      bad_input(fmt::format("unknown key '{}'", printable(key)),
                fmt::format("known keys: {}", fmt::join(known, ", ")));
    }
  }
}

const Json& expect_object(const Json& json, std::string_view what) {
  if (!json.is_object()) bad_input(fmt::format("{} must be an object", what));
  return json;
}

std::string text_of(const Json& json, std::string_view what) {
  if (!json.is_string()) bad_input(fmt::format("{} must be a string", what));
  return json.get<std::string>();
}

std::vector<std::string> texts_of(const Json& json, std::string_view what) {
  if (!json.is_array()) bad_input(fmt::format("{} must be a list of strings", what));
  std::vector<std::string> texts;
  for (const Json& item : json) texts.push_back(text_of(item, what));
  return texts;
}

const Json* find(const Json& object, std::string_view key) {
  const Json::const_iterator it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

std::string optional_text(const Json& object, std::string_view key) {
  const Json* const json = find(object, key);
  return json == nullptr ? std::string() : text_of(*json, fmt::format("'{}'", key));
}

bool optional_flag(const Json& object, std::string_view key) {
  const Json* const json = find(object, key);
  if (json == nullptr) return false;
  if (!json->is_boolean()) bad_input(fmt::format("'{}' must be true or false", key));
  return json->get<bool>();
}

Expr optional_expr(const Json& object, std::string_view key) {
  const Json* const json = find(object, key);
  return json == nullptr ? Expr() : Expr::parse(text_of(*json, fmt::format("'{}'", key)));
}

bridge::Dtype dtype_of(const std::string& name) {
  // Elements may be of a type that no file names.
  const std::optional<bridge::Dtype> dtype = name == bridge::safetensors_name(bridge::Dtype::kI4)
                                                 ? bridge::Dtype::kI4
                                                 : bridge::dtype_from_safetensors(name);
  if (!dtype) bad_input(fmt::format("unknown dtype '{}'", printable(name)));
  return *dtype;
}

// Empty if the key is absent.
std::vector<bridge::Dtype> dtypes_of(const Json& object, std::string_view key) {
  std::vector<bridge::Dtype> dtypes;
  const Json* const json = find(object, key);
  if (json == nullptr) return dtypes;
  for (const std::string& name : texts_of(*json, fmt::format("'{}'", key))) {
    dtypes.push_back(dtype_of(name));
  }
  if (dtypes.empty()) bad_input(fmt::format("'{}' is empty", key));
  return dtypes;
}

}  // namespace mappings
