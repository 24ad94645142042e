// The tables compiled into the binary and the choice of one by config.json.
#include "mappings/table/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "mappings/table/embedded.h"
#include "mappings/table/table.h"

namespace mappings {
namespace {

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view stem(std::string_view file) {
  return file.substr(0, file.find('.'));
}

// What a table knows as another model, by architecture or model type.
void refuse_other_models(std::string_view name) {
  for (const Table& table : builtin_tables()) {
    for (const OtherModel& other : table.not_served) {
      if (other.name == name) {
        bridge::unsupported(fmt::format("{} is not supported: {}", other.name, other.text),
                            other.remedy);
      }
    }
  }
}

// "FSDPQwen3ForCausalLM": wrappers of trainers put their name before the class's, and some save_pretrained wrote that.
// Empty: the name does not end as one that is served.
std::string wrapped_architecture(std::string_view name) {
  std::string longest;
  for (const Table& table : builtin_tables()) {
    for (const std::string& served : table.architectures) {
      if (name.ends_with(served) && served.size() > longest.size()) longest = served;
    }
  }
  return longest;
}

[[noreturn]] void fail_unknown(std::string_view what, std::string_view wrapped = {}) {
  std::vector<std::string> known;
  for (const Table& table : builtin_tables()) {
    known.insert(known.end(), table.architectures.begin(), table.architectures.end());
  }
  std::sort(known.begin(), known.end());
  bridge::unsupported(
      fmt::format("no mapping table for {} (there are tables for {})", what,
                  fmt::join(known, ", ")),
      wrapped.empty()
          ? std::string("write one as docs/mapping-tables.md shows and pass it with --mapping FILE")
          : fmt::format("if that is {} under a wrapper's name (FSDP), --arch {} takes it", wrapped,
                        wrapped));
}

template <typename Predicate>
const Table* find_builtin(const Predicate& serves) {
  for (const Table& table : builtin_tables()) {
    if (serves(table)) return &table;
  }
  return nullptr;
}

}  // namespace

const std::vector<Table>& builtin_tables() {
  static const std::vector<Table> tables = [] {
    std::vector<Table> parsed;
    for (const EmbeddedTable& embedded : embedded_tables()) {
      parsed.push_back(parse_table(embedded.text, std::string(embedded.file)));
    }
    return parsed;
  }();
  return tables;
}

const Table& find_table(const Json& config, std::string_view override_name) {
  // Whatever else is said of the model, and also where it calls itself by the name of one that is served.
  const Json type = config.is_object() ? config.value("model_type", Json()) : Json();
  if (type.is_string()) refuse_other_models(type.get<std::string>());
  if (!override_name.empty()) {
    refuse_other_models(override_name);
    const Table* const table = find_builtin([&](const Table& t) {
      return contains(t.architectures, override_name) || contains(t.model_types, override_name) ||
             stem(t.file) == override_name;
    });
    if (table != nullptr) return *table;
    fail_unknown(fmt::format("'{}'", bridge::printable(override_name)));
  }
  if (!config.is_object()) bridge::bad_input("config.json: not an object");
  std::vector<std::string> asked;
  const Json architectures = config.value("architectures", Json());
  if (architectures.is_array()) {
    for (const Json& item : architectures) {
      if (!item.is_string()) bridge::bad_input("config.json: architectures holds no strings");
      asked.push_back(item.get<std::string>());
    }
  } else if (!architectures.is_null()) {
    bridge::bad_input("config.json: architectures is no list");
  }
  for (const std::string& name : asked) {
    refuse_other_models(name);
    const Table* const table =
        find_builtin([&](const Table& t) { return contains(t.architectures, name); });
    if (table != nullptr) return *table;
  }
  // A model type says less than an architecture (LlamaForSequenceClassification is a "llama" too),
  // so it counts only where there is no architecture.
  if (!asked.empty()) {
    const std::string wrapped = wrapped_architecture(asked.front());
    for (std::string& name : asked) name = fmt::format("'{}'", bridge::printable(name));
    fail_unknown(fmt::format("architecture {}", fmt::join(asked, ", ")), wrapped);
  }
  if (!type.is_string()) {
    bridge::bad_input("config.json: neither architectures nor model_type", "name one with --arch");
  }
  const std::string name = type.get<std::string>();
  const Table* const table =
      find_builtin([&](const Table& t) { return contains(t.model_types, name); });
  if (table == nullptr) fail_unknown(fmt::format("model type '{}'", bridge::printable(name)));
  return *table;
}

}  // namespace mappings
