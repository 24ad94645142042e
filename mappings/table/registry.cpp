// The tables compiled into the binary, and how config.json chooses one of them.
#include "mappings/table/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <mutex>

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

// A table that is parsed on first use.
class LazyTable {
 public:
  explicit LazyTable(const EmbeddedText& source) : source_(source) {}

  const Table& get() {
    std::call_once(once_, [&] { table_ = parse_table(source_.text, std::string(source_.file)); });
    return table_;
  }

 private:
  const EmbeddedText& source_;
  std::once_flag once_;
  Table table_;
};

// index: into embedded_tables().
const Table& builtin_table(size_t index) {
  static const auto tables = [] {
    std::vector<std::unique_ptr<LazyTable>> lazy;
    for (const EmbeddedText& source : embedded_tables()) {
      lazy.push_back(std::make_unique<LazyTable>(source));
    }
    return lazy;
  }();
  return tables[index]->get();
}

// Refuses an architecture or model type that a table knows as another model.
void refuse_other_models(std::string_view name) {
  for (const NamedHead& table : builtin_heads()) {
    for (const OtherModel& other : table.head.not_served) {
      if (other.name == name) {
        bridge::unsupported(fmt::format("{} is not supported: {}", other.name, other.text),
                            other.remedy);
      }
    }
  }
}

// "FSDPQwen3ForCausalLM": wrappers of trainers put their name before the class's, and some versions
// of save_pretrained wrote that. Returns "" if the name does not end with an architecture that we
// serve.
std::string wrapped_architecture(std::string_view name) {
  std::string longest;
  for (const NamedHead& table : builtin_heads()) {
    for (const std::string& served : table.head.architectures) {
      if (name.ends_with(served) && served.size() > longest.size()) longest = served;
    }
  }
  return longest;
}

[[noreturn]] void fail_unknown(std::string_view what, std::string_view wrapped = {}) {
  std::vector<std::string> known;
  for (const NamedHead& table : builtin_heads()) {
    known.insert(known.end(), table.head.architectures.begin(), table.head.architectures.end());
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
  for (size_t i = 0; i < builtin_heads().size(); ++i) {
    if (serves(builtin_heads()[i])) return &builtin_table(i);
  }
  return nullptr;
}

}  // namespace

std::vector<const Table*> builtin_tables() {
  std::vector<const Table*> tables;
  for (size_t i = 0; i < embedded_tables().size(); ++i) tables.push_back(&builtin_table(i));
  return tables;
}

const std::vector<NamedHead>& builtin_heads() {
  static const std::vector<NamedHead> heads = [] {
    std::vector<NamedHead> read;
    for (const EmbeddedText& source : embedded_tables()) {
      read.push_back({source.file, read_head(source.text)});
    }
    return read;
  }();
  return heads;
}

std::string_view builtin_text(std::string_view file) {
  constexpr std::string_view kFolder = "common/";
  const bool fragment = file.starts_with(kFolder);
  if (fragment) file.remove_prefix(kFolder.size());
  for (const EmbeddedText& each : fragment ? embedded_fragments() : embedded_tables()) {
    if (each.file == file) return each.text;
  }
  return {};
}

const Table& find_table(const Json& config, std::string_view override_name) {
  // The model type is checked first: nothing else overrides it, not even an architecture or --arch
  // that we serve.
  const Json type = config.is_object() ? config.value("model_type", Json()) : Json();
  if (type.is_string()) refuse_other_models(type.get<std::string>());
  if (!override_name.empty()) {
    refuse_other_models(override_name);
    const Table* const table = find_builtin([&](const NamedHead& t) {
      return contains(t.head.architectures, override_name) ||
             contains(t.head.model_types, override_name) || stem(t.file) == override_name;
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
        find_builtin([&](const NamedHead& t) { return contains(t.head.architectures, name); });
    if (table != nullptr) return *table;
  }
  // A model type says less than an architecture (LlamaForSequenceClassification is a "llama" too),
  // so it counts only if there is no architecture.
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
      find_builtin([&](const NamedHead& t) { return contains(t.head.model_types, name); });
  if (table == nullptr) fail_unknown(fmt::format("model type '{}'", bridge::printable(name)));
  return *table;
}

}  // namespace mappings
