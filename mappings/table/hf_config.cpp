#include "mappings/table/hf_config.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "mappings/table/table_json.h"

namespace mappings {
namespace {

using bridge::bad_input;

void check_key(const std::string& key) {
  if (key.empty() || key.front() == '.' || key.back() == '.' ||
      key.find("..") != std::string::npos) {
    bad_input(fmt::format("'{}' is no key of config.json", bridge::printable(key)),
              "write 'key' or 'object.key'");
  }
}

}  // namespace

HfConfigEntry hf_config_entry_of(const Json& json, const Place& place) {
  if (!json.is_array() || json.size() < 2 || json.size() > 3) {
    bad_input("an entry is [key or list of keys, expression, {options}]");
  }
  HfConfigEntry entry;
  entry.place = place;
  entry.keys = json[0].is_array() ? texts_of(json[0], "the keys")
                                  : std::vector<std::string>{text_of(json[0], "the key")};
  if (entry.keys.empty()) bad_input("the list of keys is empty");
  for (const std::string& key : entry.keys) check_key(key);
  entry.value = Expr::parse(text_of(json[1], "the value"));
  if (json.size() == 3) {
    expect_keys(expect_object(json[2], "the third element"), {"when", "for"});
    entry.when = optional_expr(json[2], "when");
    if (json[2].contains("for")) {
      const std::string purpose = text_of(json[2]["for"], "'for'");
      entry.corrects = purpose == "correct";
      entry.derives = purpose == "derive";
      if (!entry.corrects && !entry.derives) {
        bad_input(
            fmt::format("'for': '{}' is neither correct nor derive", bridge::printable(purpose)));
      }
    }
  }
  return entry;
}

}  // namespace mappings
