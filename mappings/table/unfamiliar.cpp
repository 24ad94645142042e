#include "mappings/table/unfamiliar.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "bridge/io/base/error.h"
#include "mappings/table/registry.h"

namespace mappings {
namespace {

constexpr size_t kMostLines = 40;

using Names = std::set<std::string>;

struct Vocabulary {
  Names prefixes;  // of families
  Names keys;
  Names modules;
  Names fields;
};

// Calls fn with every Megatron key of a row: under each spelling, with each suffix of a split.
template <typename Fn>
void for_each_key(const Row& row, const Fn& fn) {
  std::vector<std::string> names = {row.megatron, row.megatron_local};
  names.insert(names.end(), row.aliases.begin(), row.aliases.end());
  for (const std::string& name : names) {
    if (row.split.empty()) fn(name);
    for (const std::string& suffix : row.split) fn(name + suffix);
  }
}

template <typename Fn>
void for_each_prefix(const Family& family, const Fn& fn) {
  fn(family.megatron);
  for (const std::string& alias : family.aliases) fn(alias);
}

Vocabulary builtin_vocabulary() {
  Vocabulary known;
  const auto into = [](Names& names) {
    return [&names](const std::string& name) { names.insert(name); };
  };
  for (const Table* table : builtin_tables()) {
    for (const Family& family : table->families) for_each_prefix(family, into(known.prefixes));
    for (const Row& row : table->rows) for_each_key(row, into(known.keys));
    for (const ExtraState& state : table->extra_state) known.modules.insert(state.module);
    for (const ProviderField& field : table->megatron_config) known.fields.insert(field.name);
  }
  return known;
}

// Levenshtein's distance: insertions, deletions and exchanges of a character.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t exchanged = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({exchanged, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

// Empty where none is near.
std::string nearest(const std::string& name, const Names& known) {
  std::string best;
  size_t least = name.size() / 3 + 1;
  for (const std::string& candidate : known) {
    const size_t found = distance(name, candidate);
    if (found < least) {
      least = found;
      best = candidate;
    }
  }
  return best;
}

class Lines {
 public:
  void check(std::string_view kind, std::string_view what, const std::string& name,
             const Place& place, const Names& known) {
    if (known.contains(name) || !seen_.insert(fmt::format("{} {}", what, name)).second) return;
    if (lines_.size() >= kMostLines) {
      ++more_;
      return;
    }
    const std::string near = nearest(name, known);
    lines_.push_back(fmt::format("{} at {}: no built-in table has the {} '{}'{}", kind,
                                 place.text(), what, bridge::printable(name),
                                 near.empty() ? "" : fmt::format(" (the nearest is '{}')", near)));
  }

  std::vector<std::string> take() {
    if (more_ > 0) lines_.push_back(fmt::format("{} more names are in no built-in table", more_));
    return std::move(lines_);
  }

 private:
  std::vector<std::string> lines_;
  std::set<std::string> seen_;
  size_t more_ = 0;
};

}  // namespace

std::vector<std::string> unfamiliar_names(const Table& table) {
  const Vocabulary known = builtin_vocabulary();
  Lines lines;
  for (const Family& family : table.families) {
    for_each_prefix(family, [&](const std::string& name) {
      lines.check("family", "Megatron prefix", name, family.place, known.prefixes);
    });
  }
  for (const Row& row : table.rows) {
    for_each_key(row, [&](const std::string& name) {
      lines.check("row", "Megatron key", name, row.place, known.keys);
    });
  }
  for (const ExtraState& state : table.extra_state) {
    lines.check("extra_state", "module", state.module, state.place, known.modules);
  }
  for (const ProviderField& field : table.megatron_config) {
    lines.check("megatron_config", "field", field.name, field.place, known.fields);
  }
  return lines.take();
}

}  // namespace mappings
