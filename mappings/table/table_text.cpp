#include "mappings/table/table_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "mappings/table/table_expand.h"
#include "mappings/table/table_json.h"
#include "mappings/table/table_keys.h"

namespace mappings {
namespace {

// Prints on one line, with a space after each comma and colon.
std::string line_text(const Json& json) {
  if (!json.is_structured()) return json.dump();
  std::string text;
  for (const auto& [key, value] : json.items()) {
    if (!text.empty()) text += ", ";
    if (json.is_object()) text += Json(key).dump() + ": ";
    text += line_text(value);
  }
  return json.is_object() ? "{" + text + "}" : "[" + text + "]";
}

// Prints one line for each member of an object, and for each element of a list unless the list has
// only plain values.
std::string section_text(const Json& json) {
  const bool has_lines =
      json.is_object() ||
      (json.is_array() && std::any_of(json.begin(), json.end(),
                                      [](const Json& item) { return item.is_structured(); }));
  if (!has_lines) return line_text(json);
  std::string text;
  for (const auto& [key, value] : json.items()) {
    text += text.empty() ? "\n    " : ",\n    ";
    if (json.is_object()) text += Json(key).dump() + ": ";
    text += line_text(value);
  }
  return json.is_object() ? "{" + text + "\n  }" : "[" + text + "\n  ]";
}

}  // namespace

std::string self_contained_text(const ExpandedTable& table) {
  std::string sections;
  const auto add = [&](const std::string& key, const Json& value) {
    sections += sections.empty() ? "\n  " : ",\n  ";
    sections += Json(key).dump() + ": " + section_text(value);
  };
  for (const std::string_view key : kTableKeys) {
    if (key == "about") continue;  // the tests of the built-in table say nothing of a copy
    if (const Json* const value = find(table.top, key)) add(std::string(key), *value);
  }
  return "{" + sections + "\n}\n";
}

std::string self_contained_text(std::string_view text, std::string_view file) {
  const std::string name = bridge::printable(file);
  const ExpandedTable table =
      bridge::with_context(name, [&] { return expand_table(text, embedded_fragments()); });
  return fmt::format("// {}, with the fragments that it uses.\n{}", name,
                     self_contained_text(table));
}

}  // namespace mappings
