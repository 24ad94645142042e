#include "mappings/table/model_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "mappings/table/name_check.h"
#include "mappings/table/table_json.h"

namespace mappings {

using bridge::bad_input;
using bridge::printable;

std::string part_option(const Json& options, const Family* family) {
  const std::string inherited = family == nullptr ? std::string() : family->part;
  if (find(options, "part") == nullptr) return inherited;
  const std::string part = optional_text(options, "part");
  if (!is_identifier(part) || part == "text") {
    bad_input(fmt::format("'{}' cannot name a part", printable(part)),
              "what is of no part is of the text model; other parts are \"vision\", for example");
  }
  if (!inherited.empty() && part != inherited) {
    bad_input(fmt::format("part '{}' in family '{}' of part '{}'", part, family->name, inherited));
  }
  return part;
}

TextForm text_form_of(const Json& json) {
  expect_keys(expect_object(json, "'text_form'"), {"config", "keep", "dialect"});
  TextForm form;
  form.config = Json::object();
  if (const Json* config = find(json, "config")) form.config = expect_object(*config, "'config'");
  if (const Json* keep = find(json, "keep")) form.keep = texts_of(*keep, "'keep'");
  if (const Json* dialect = find(json, "dialect")) {
    for (const auto& [key, value] : expect_object(*dialect, "'dialect'").items()) {
      form.dialect.emplace_back(key, text_of(value, "a dialect's text"));
    }
  }
  return form;
}

void check_text_form(const Table& table) {
  if (!table.text_form) return;
  if (table.config_root.empty()) {
    bad_input("'text_form' needs 'config_root', the key of the text model's configuration");
  }
  for (const auto& placeholder : table.text_form->dialect) {
    const std::string& key = placeholder.first;
    const auto& first = table.dialects[0];
    if (std::none_of(first.begin(), first.end(),
                     [&key](const auto& entry) { return entry.first == key; })) {
      bad_input(fmt::format("'text_form': '{}' is no placeholder of the dialects", printable(key)));
    }
  }
  for (size_t dialect = 0; dialect < table.dialects.size(); ++dialect) {
    if (text_dialect_of(table, dialect) == table.dialects.size()) {
      bad_input(fmt::format("'text_form': number {} of 'dialects', spelled so, is none of them",
                            dialect + 1));
    }
  }
}

std::string root_key(const Table& table, const Json& config) {
  return table.text_form && !config.contains(table.config_root) ? std::string() : table.config_root;
}

size_t text_dialect_of(const Table& table, size_t dialect) {
  auto wanted = table.dialects.at(dialect);
  for (auto& [key, text] : wanted) {
    for (const auto& [changed, by] : table.text_form->dialect) {
      if (changed == key) text = by;
    }
  }
  return static_cast<size_t>(std::find(table.dialects.begin(), table.dialects.end(), wanted) -
                             table.dialects.begin());
}

}  // namespace mappings
