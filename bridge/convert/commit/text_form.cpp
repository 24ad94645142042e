#include "bridge/convert/commit/text_form.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "bridge/io/base/json_non_finite.h"
#include "bridge/io/base/json_strict.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;
// The prefix of a name, and its replacement.
using Respelling = std::pair<std::string, std::string>;

std::vector<Respelling> respellings(const mappings::Table& table, size_t dialect) {
  std::vector<Respelling> found;
  for (const auto& [placeholder, text] : table.dialects.at(dialect)) {
    for (const auto& [changed, by] : table.text_form->dialect) {
      if (changed == placeholder && !text.empty() && text != by) found.emplace_back(text, by);
    }
  }
  return found;
}

// Adds the same prefixes as expressions of compressed-tensors have them: with and without an
// anchor, and with their dots escaped or not.
std::vector<Respelling> with_expressions(const std::vector<Respelling>& names) {
  const auto escaped = [](std::string_view text) {
    std::string pattern;
    for (const char c : text) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
    return pattern;
  };
  std::vector<Respelling> all = names;
  for (const auto& [from, to] : names) {
    for (const std::string_view start : {"re:", "re:^"}) {
      all.emplace_back(std::string(start) + from, std::string(start) + to);
      all.emplace_back(std::string(start) + escaped(from), std::string(start) + escaped(to));
    }
  }
  return all;
}

void respell(Json& json, const std::vector<Respelling>& respellings) {
  if (json.is_structured()) {
    for (Json& item : json) respell(item, respellings);
  } else if (json.is_string()) {
    const std::string& name = json.get_ref<const std::string&>();
    for (const auto& [from, to] : respellings) {
      if (!name.starts_with(from)) continue;
      json = to + name.substr(from.size());
      return;
    }
  }
}

}  // namespace

std::string text_form_config(std::string_view config_text, const mappings::Binding& binding,
                             size_t dialect) {
  const mappings::Table& table = binding.table();
  const Json whole = parse_json(config_text, {.non_finite = true});
  const std::string root = binding.config_root();
  Json config = root.empty() ? whole : whole.at(root);
  const auto changes = with_expressions(respellings(table, dialect));
  for (const std::string& key : table.text_form->keep) {
    if (!whole.contains(key)) continue;
    config[key] = whole[key];
    respell(config[key], changes);
  }
  const mappings::Json own = binding.text_form_config();
  for (const auto& [key, value] : own.items()) config[key] = value;
  return dump_with_non_finite(config) + "\n";
}

}  // namespace bridge
