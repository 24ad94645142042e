// Parses the text of a mapping table (docs/mapping-tables.md) into a Table, in three steps:
//   1. expand_table(): strict JSON with comments, fragments and groups; refuses duplicate and
//      unknown keys, excess depth and size
//   2. one reader for each section: refuses wrong kinds and unparsable expressions
//   3. check_table(): checks what needs the whole table (placeholders, families, duplicates)
// Every message names the file and, for elements, their line.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "bridge/io/base/error.h"
#include "bridge/io/file/sha256.h"
#include "mappings/table/model_parts.h"
#include "mappings/table/notice.h"
#include "mappings/table/provider_fields.h"
#include "mappings/table/quantization_parse.h"
#include "mappings/table/row_parse.h"
#include "mappings/table/table.h"
#include "mappings/table/table_check.h"
#include "mappings/table/table_expand.h"
#include "mappings/table/table_json.h"
#include "mappings/table/table_text.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

OtherModel other_model_of(const Json& json, const Place& place) {
  if (!json.is_array() || json.size() != 3) bad_input("an entry is [name, text, remedy]");
  return {text_of(json[0], "the name"), text_of(json[1], "the text"),
          text_of(json[2], "the remedy"), place};
}

About about_of(const Json& json) {
  expect_keys(expect_object(json, "'about'"), {"models", "quantized", "mtp", "checked"});
  About about;
  about.models = optional_text(json, "models");
  about.mtp = optional_text(json, "mtp");
  if (const Json* list = find(json, "quantized")) about.quantized = texts_of(*list, "'quantized'");
  if (const Json* list = find(json, "checked")) about.checked = texts_of(*list, "'checked'");
  if (about.models.empty() || about.mtp.empty()) bad_input("'about' needs 'models' and 'mtp'");
  return about;
}

std::string sha256_of(std::string_view text) {
  bridge::Sha256 hash;
  hash.add(text);
  return hash.hex();
}

class TableReader {
 public:
  TableReader(ExpandedTable source, std::string file) : source_(std::move(source)) {
    table_.file = std::move(file);
  }

  Table read() {
    const Json& top = source_.top;
    if (const Json* json = find(top, "architectures")) {
      table_.architectures = texts_of(*json, "'architectures'");
    }
    if (const Json* json = find(top, "model_types")) {
      table_.model_types = texts_of(*json, "'model_types'");
    }
    if (const Json* json = find(top, "about")) table_.about = about_of(*json);
    table_.config_root = optional_text(top, "config_root");
    if (const Json* json = find(top, "defaults")) {
      table_.defaults = expect_object(*json, "'defaults'");
    }
    read_named_expressions(top, "values", table_.values);
    read_named_expressions(top, "dims", table_.dims);
    read_dialects(top);
    read_families(top);
    table_.mtp_key = optional_text(top, "mtp");
    table_.mtp_found = optional_flag(top, "mtp_found");
    if (const Json* const json = find(top, "mtp_uncounted")) {
      with_context("'mtp_uncounted'",
                   [&] { table_.mtp_uncounted = notice_of(*json, place_of("mtp_uncounted", 0)); });
    }
    each(top, "quantization", "quantization", [&](const Json& json, const Place& place) {
      table_.quantization.push_back(quantization_of(json, place));
    });
    if (const Json* json = find(top, "quantization_groups")) {
      with_context("'quantization_groups'",
                   [&] { table_.quantization_groups = quantization_groups_of(*json); });
    }
    table_.tied = find(top, "tied") ? optional_expr(top, "tied") : Expr::parse("false");
    table_.per_layer_keys =
        find(top, "per_layer_keys") ? optional_expr(top, "per_layer_keys") : Expr::parse("false");
    table_.one_spec = optional_flag(top, "one_spec");
    table_.name_prefix =
        find(top, "name_prefix") ? optional_expr(top, "name_prefix") : Expr::parse("''");
    if (const Json* json = find(top, "text_form")) table_.text_form = text_form_of(*json);
    each(top, "rows", "row",
         [&](const Json& json, const Place& place) { read_row(json, place, table_); });
    each(top, "drop", "drop",
         [&](const Json& json, const Place& place) { read_drop(json, place, table_); });
    each(top, "extra_state", "extra_state",
         [&](const Json& json, const Place& place) { read_extra_state(json, place, table_); });
    each(top, "refuse", "refuse", [&](const Json& json, const Place& place) {
      table_.refuse.push_back(notice_of(json, place));
    });
    each(top, "warn", "warn", [&](const Json& json, const Place& place) {
      table_.warn.push_back(notice_of(json, place));
    });
    each(top, "not_served", "not_served", [&](const Json& json, const Place& place) {
      table_.not_served.push_back(other_model_of(json, place));
    });
    read_megatron_config(top);
    each_member(top, "megatron_args", [&](const std::string& name, const Json& json, const Place&) {
      if (json.is_structured()) bad_input("the value is not plain");
      table_.megatron_args[name] = json;
    });
    each(top, "hf_config", "hf_config", [&](const Json& json, const Place& place) {
      table_.hf_config.push_back(hf_config_entry_of(json, place));
    });
    check_table(table_);
    table_.sha256 = sha256_of(self_contained_text(source_));
    return std::move(table_);
  }

 private:
  Place place_of(const std::string& section, size_t i) const {
    const auto it = source_.places.find(section);
    return it == source_.places.end() || i >= it->second.size() ? Place{} : it->second[i];
  }

  template <typename Fn>
  void each(const Json& top, const std::string& section, std::string_view kind, const Fn& fn) {
    const Json* const json = find(top, section);
    if (json == nullptr) return;
    if (!json->is_array()) bad_input(fmt::format("'{}' must be a list", section));
    for (size_t i = 0; i < json->size(); ++i) {
      const Place place = place_of(section, i);
      with_context([&] { return fmt::format("{} at {}", kind, place.text()); },
                   [&] { fn((*json)[i], place); });
    }
  }

  template <typename Fn>
  void each_member(const Json& top, const std::string& section, const Fn& fn) {
    const Json* const json = find(top, section);
    if (json == nullptr) return;
    expect_object(*json, fmt::format("'{}'", section));
    size_t i = 0;
    for (const auto& [key, value] : json->items()) {
      const Place place = place_of(section, i++);
      const std::string& name = key;
      const Json& member = value;
      with_context(
          [&] { return fmt::format("{} '{}' at {}", section, printable(name), place.text()); },
          [&] { fn(name, member, place); });
    }
  }

  void read_named_expressions(const Json& top, const std::string& section, NamedExprs& out) {
    each_member(top, section, [&](const std::string& name, const Json& json, const Place&) {
      out.emplace_back(name, Expr::parse(text_of(json, "the value")));
    });
  }

  void read_dialects(const Json& top) {
    each(top, "dialects", "dialect", [&](const Json& json, const Place&) {
      expect_object(json, "a dialect");
      std::vector<std::pair<std::string, std::string>> dialect;
      for (const auto& [key, value] : json.items()) {
        dialect.emplace_back(key, text_of(value, "a dialect's text"));
      }
      std::sort(dialect.begin(), dialect.end());
      table_.dialects.push_back(std::move(dialect));
    });
    if (table_.dialects.empty()) table_.dialects.emplace_back();
    // A dialect takes the placeholders that it leaves out from the first dialect, and keeps its own
    // text of the others.
    const auto first = table_.dialects.front();
    for (auto& dialect : table_.dialects) {
      const auto own = std::move(dialect);
      dialect.clear();
      std::set_union(own.begin(), own.end(), first.begin(), first.end(),
                     std::back_inserter(dialect),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    }
  }

  void read_families(const Json& top) {
    each_member(
        top, "families", [&](const std::string& name, const Json& json, const Place& place) {
          expect_keys(expect_object(json, "a family"), {"megatron", "aliases", "hf", "count", "let",
                                                        "mtp", "part", "per_layer_keys"});
          Family family;
          family.name = name;
          family.place = place;
          family.megatron = optional_text(json, "megatron");
          family.hf = optional_text(json, "hf");
          family.count = optional_expr(json, "count");
          family.mtp = optional_flag(json, "mtp");
          family.part = part_option(json, nullptr);
          family.per_layer_keys = optional_expr(json, "per_layer_keys");
          if (const Json* aliases = find(json, "aliases")) {
            family.aliases = texts_of(*aliases, "'aliases'");
          }
          if (const Json* let = find(json, "let")) {
            for (const auto& [variable, value] : expect_object(*let, "'let'").items()) {
              family.let.emplace_back(variable, Expr::parse(text_of(value, "the value")));
            }
          }
          if (family.megatron.empty() || family.hf.empty() || family.count.empty()) {
            bad_input("a family needs 'megatron', 'hf' and 'count'");
          }
          table_.families.push_back(std::move(family));
        });
  }

  void read_megatron_config(const Json& top) {
    each_member(top, "megatron_config",
                [&](const std::string& name, const Json& json, const Place& place) {
                  table_.megatron_config.push_back(provider_field_of(name, json, place));
                });
    each(top, "megatron_config_when", "megatron_config_when",
         [&](const Json& json, const Place& place) { read_fields_when(json, place, table_); });
  }

  ExpandedTable source_;
  Table table_;
};

}  // namespace

Table parse_table(std::string_view text, std::string file) {
  return parse_table(text, std::move(file), embedded_fragments());
}

Table parse_table(std::string_view text, std::string file,
                  std::span<const EmbeddedText> fragments) {
  const std::string context = printable(file);
  return with_context(
      context, [&] { return TableReader(expand_table(text, fragments), std::move(file)).read(); });
}

}  // namespace mappings
