#include "mappings/table/table_expand.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "mappings/table/shared_options.h"
#include "mappings/table/table_json.h"
#include "mappings/table/table_keys.h"
#include "mappings/table/table_lines.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

constexpr bridge::JsonLimits kLimits = {
    .max_bytes = 4 << 20, .max_depth = 16, .allow_comments = true};
constexpr size_t kMostElements = 4096;
constexpr size_t kMostUses = 64;
constexpr size_t kMostOptions = 32;           // in a group
constexpr int64_t kMostSharedText = 1 << 20;  // bounds all copies of shared options together

// The entry of "use" that marks the position of the table's own lists.
constexpr const char* kOwnLists = "...";

constexpr std::string_view kLists[] = {
    "rows",         "drop",       "extra_state",          "refuse",   "warn",
    "quantization", "not_served", "megatron_config_when", "hf_config"};
constexpr std::string_view kObjects[] = {"defaults", "values",          "dims",
                                         "families", "megatron_config", "megatron_args"};
// Keys that describe the table itself; a fragment cannot have them.
constexpr std::string_view kOfTables[] = {"use", "architectures", "about", "model_types",
                                          "not_served"};

template <size_t N>
bool contains(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// A file of JSON with comments, and the lines of its elements.
struct Source {
  Json top;
  LineTree lines;
  std::string fragment;  // empty: the table itself

  Place place(const LineTree& tree) const { return {tree.line, fragment}; }
};

Source read_source(std::string_view text, std::string fragment) {
  Json top = bridge::parse_json(text, kLimits);
  expect_keys(expect_object(top, fragment.empty() ? "the table" : "the fragment"), kTableKeys);
  return {std::move(top), line_tree(text), std::move(fragment)};
}

class Expansion {
 public:
  void add_lists(const Source& source, const SharedOptions& shared) {
    size_t i = 0;
    for (const auto& [key, value] : source.top.items()) {
      const LineTree& lines = source.lines.children[i++];
      if (is_list(key, value)) add_list(key, value, lines, source, shared);
    }
  }

  void add_other_keys(const Source& source) {
    size_t i = 0;
    for (const auto& [key, value] : source.top.items()) {
      const LineTree& lines = source.lines.children[i++];
      if (key == "use" || is_list(key, value)) continue;
      if (value.is_structured()) check_size(key, value.size());
      if (contains(kObjects, key) && value.is_object()) {
        add_members(key, value, lines, source);
      } else {
        set(key, value, lines, source);
      }
    }
  }

  ExpandedTable take() { return std::move(result_); }

 private:
  static bool is_list(std::string_view key, const Json& value) {
    return contains(kLists, key) && value.is_array();
  }

  static void check_size(const std::string& section, size_t size) {
    if (size > kMostElements) {
      bad_input(fmt::format("'{}' has {} elements (at most {})", section, size, kMostElements));
    }
  }

  void add_list(const std::string& section, const Json& list, const LineTree& lines,
                const Source& source, const SharedOptions& shared) {
    Json& elements = result_.top.emplace(section, Json::array()).first.value();
    const std::optional<size_t> options = options_index(section);
    const auto add = [&](const Json& element, const Place& place, const SharedOptions& group) {
      elements.push_back(element);
      check_size(section, elements.size());
      result_.places[section].push_back(place);
      if (!options) return;
      count_text(group);
      group.add_to(elements.back(), *options);
      count_text(shared);
      shared.add_to(elements.back(), *options);
    };
    for (size_t i = 0; i < list.size(); ++i) {
      const Json& element = list[i];
      const Place place = source.place(lines.children[i]);
      with_context([&] { return fmt::format("{} at {}", section, place.text()); },
                   [&] {
                     if (options && element.is_object()) {
                       add_group(section, element, lines.children[i], source, add);
                     } else {
                       add(element, place, SharedOptions(Json::object()));
                     }
                   });
    }
  }

  template <typename Add>
  void add_group(const std::string& section, const Json& group, const LineTree& lines,
                 const Source& source, const Add& add) {
    const Json* const list = find(group, section);
    if (list == nullptr || !list->is_array()) {
      bad_input(fmt::format("a group is {{options, \"{}\": [...]}}", section));
    }
    if (group.size() > kMostOptions) {
      bad_input(fmt::format("a group has {} options (at most {})", group.size(), kMostOptions));
    }
    const auto at = std::distance(group.begin(), group.find(section));
    const LineTree& elements = lines.children[static_cast<size_t>(at)];
    Json options = group;
    options.erase(section);
    const SharedOptions shared(std::move(options));
    for (size_t i = 0; i < list->size(); ++i) {
      add((*list)[i], source.place(elements.children[i]), shared);
    }
  }

  // Built-in tables share a few thousand bytes; a hostile table could multiply a long condition.
  void count_text(const SharedOptions& shared) {
    shared_text_ += shared.text_size();
    if (shared_text_ > kMostSharedText) {
      bad_input(fmt::format("groups add more than {} bytes of options", kMostSharedText));
    }
  }

  void add_members(const std::string& section, const Json& object, const LineTree& lines,
                   const Source& source) {
    Json& members = result_.top.emplace(section, Json::object()).first.value();
    std::vector<Place>& places = result_.places[section];
    size_t i = 0;
    for (const auto& [name, value] : object.items()) {
      const Place place = source.place(lines.children[i++]);
      const Json::iterator it = members.find(name);
      if (it == members.end()) {
        members[name] = value;
        places.push_back(place);
        continue;
      }
      Place& before = places[static_cast<size_t>(std::distance(members.begin(), it))];
      if (!source.fragment.empty()) {
        refuse_twice(section + " '" + printable(name) + "'", before, place);
      }
      it.value() = value;
      before = place;
    }
  }

  void set(const std::string& key, const Json& value, const LineTree& lines, const Source& source) {
    std::vector<Place>& places = result_.places[key];
    if (!source.fragment.empty() && result_.top.contains(key)) {
      refuse_twice("'" + printable(key) + "'", {}, source.place(lines));
    }
    result_.top[key] = value;
    places.clear();
    for (const LineTree& child : lines.children) places.push_back(source.place(child));
  }

  [[noreturn]] static void refuse_twice(const std::string& what, const Place& first,
                                        const Place& second) {
    bad_input(fmt::format("{} at {} is in another fragment already{}", what, second.text(),
                          first.line > 0 ? " (" + first.text() + ")" : ""));
  }

  ExpandedTable result_{Json::object(), {}};
  int64_t shared_text_ = 0;
};

Source read_fragment(const std::string& name, std::span<const EmbeddedText> fragments) {
  const std::string file = name + ".jsonc";
  const auto it = std::find_if(fragments.begin(), fragments.end(),
                               [&](const EmbeddedText& each) { return each.file == file; });
  if (it == fragments.end()) {
    std::vector<std::string_view> known;
    for (const EmbeddedText& each : fragments) {
      known.push_back(each.file.substr(0, each.file.find('.')));
    }
    bad_input(fmt::format("unknown fragment '{}'", printable(name)),
              fmt::format("there are {}", fmt::join(known, ", ")));
  }
  const std::string shown = "common/" + file;
  return with_context(shown, [&] {
    Source source = read_source(it->text, shown);
    for (const auto& [key, value] : source.top.items()) {
      if (contains(kOfTables, key)) bad_input(fmt::format("a fragment has no '{}'", key));
    }
    return source;
  });
}

void add_use(const Json& use, std::span<const EmbeddedText> fragments, Expansion& expansion) {
  Json options = Json::object();
  std::string name;
  if (use.is_object()) {
    expect_keys(use, {"fragment", "family", "when", "part"});
    name = optional_text(use, "fragment");
    options = use;
    options.erase("fragment");
  } else {
    name = text_of(use, "a fragment");
  }
  const Source source = read_fragment(name, fragments);
  expansion.add_lists(source, SharedOptions(std::move(options)));
  expansion.add_other_keys(source);
}

// Adds the fragments, and the table's own lists at their position among the fragments.
void add_uses(const Source& table, const Json& uses, std::span<const EmbeddedText> fragments,
              Expansion& expansion) {
  if (!uses.is_array()) bad_input("'use' must be a list of fragments");
  if (uses.size() > kMostUses) {
    bad_input(fmt::format("'use' names {} fragments (at most {})", uses.size(), kMostUses));
  }
  const auto own = std::count(uses.begin(), uses.end(), Json(kOwnLists));
  if (own > 1) bad_input(fmt::format("'use' has '{}' {} times", kOwnLists, own));
  for (const Json& use : uses) {
    if (use == kOwnLists) {
      expansion.add_lists(table, SharedOptions(Json::object()));
    } else {
      with_context("'use'", [&] { add_use(use, fragments, expansion); });
    }
  }
  if (own == 0) expansion.add_lists(table, SharedOptions(Json::object()));
}

}  // namespace

ExpandedTable expand_table(std::string_view text, std::span<const EmbeddedText> fragments) {
  const Source table = read_source(text, {});
  Expansion expansion;
  const Json* const uses = find(table.top, "use");
  add_uses(table, uses == nullptr ? Json::array() : *uses, fragments, expansion);
  expansion.add_other_keys(table);
  return expansion.take();
}

}  // namespace mappings
