// Reads the text of a mapping table (docs/mapping-tables.md) into a Table, in three steps:
//   1. strict JSON with comments (duplicate keys, depth and size are refused there)
//   2. each section by its own reader: unknown keys, wrong kinds, unparsable expressions
//   3. check_table(): what needs the whole table (placeholders, families, duplicates)
// Every message carries the file and, for elements, their line.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <map>

#include "bridge/io/error.h"
#include "bridge/io/json_strict.h"
#include "mappings/op_names.h"
#include "mappings/table.h"
#include "mappings/table_check.h"
#include "mappings/table_json.h"
#include "mappings/table_lines.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

constexpr bridge::JsonLimits kLimits = {
    .max_bytes = 4 << 20, .max_depth = 16, .allow_comments = true};
constexpr size_t kMostElements = 4096;

// "a, f[b, c], d" at its outer commas.
std::vector<Expr> expressions_of(std::string_view list) {
  std::vector<Expr> expressions;
  int depth = 0;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i <= list.size(); ++i) {
    const char c = i < list.size() ? list[i] : ',';
    if (c == '\'') quoted = !quoted;
    if (quoted && i < list.size()) continue;
    if (c == '(' || c == '[') ++depth;
    if (c == ')' || c == ']') --depth;
    if (i == list.size() || (c == ',' && depth == 0)) {
      expressions.push_back(Expr::parse(list.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  return expressions;
}

// "{H}.mlp.up_proj.weight [ffn, hidden]"
HfPart part_of(const std::string& text) {
  const size_t brace = text.rfind('}');  // a placeholder may be an expression
  const size_t space = text.find(' ', brace == std::string::npos ? 0 : brace);
  const size_t open = text.find_first_not_of(' ', space);
  if (space == std::string::npos || open == std::string::npos || text[open] != '[' ||
      text.back() != ']') {
    bad_input(fmt::format("'{}' is not of the form 'name [dim, ...]'", printable(text)));
  }
  HfPart part;
  part.name = text.substr(0, space);
  part.shape = expressions_of(std::string_view(text).substr(open + 1, text.size() - open - 2));
  return part;
}

// The families an element is for: what it names, else the only one there is when it uses one.
std::vector<std::string> families_of(const Json& options, const std::string& pattern,
                                     const Table& table) {
  const Json* const json = find(options, "family");
  if (json != nullptr) {
    if (json->is_array()) return texts_of(*json, "'family'");
    return {text_of(*json, "'family'")};
  }
  const bool per_layer =
      pattern.find("{L}") != std::string::npos || pattern.find("{H}") != std::string::npos;
  if (!per_layer) return {""};
  if (table.families.size() == 1) return {table.families.front().name};
  bad_input(fmt::format("'family' is needed, as the table has {}", table.families.size()));
}

// Suffixes of equal parts, or suffixes with the rows of each.
void read_split(const Json& json, Row& row) {
  if (json.is_array()) {
    row.split = texts_of(json, "'split'");
    return;
  }
  if (!json.is_object()) {
    bad_input("'split' must be a list of suffixes, or an object of suffixes with their rows");
  }
  for (const auto& [suffix, rows] : json.items()) {
    row.split.push_back(suffix);
    row.split_rows.push_back(Expr::parse(text_of(rows, "a size in 'split'")));
  }
}

void read_row(const Json& json, int line, Table& table) {
  if (!json.is_array() || json.size() < 3 || json.size() > 4) {
    bad_input("a row is [megatron, op, hf, {options}]");
  }
  const Json options = json.size() == 4 ? expect_object(json[3], "the options") : Json::object();
  expect_keys(options, {"aliases", "local", "groups", "heads", "gated", "split", "chunks", "when",
                        "experts", "dtypes", "keep", "family"});
  Row row;
  row.line = line;
  row.megatron = text_of(json[0], "the Megatron name");
  row.op = op_of(text_of(json[1], "the op"));
  if (json[2].is_array()) {
    for (const std::string& part : texts_of(json[2], "the HF names")) {
      row.hf.push_back(part_of(part));
    }
  } else {
    row.hf.push_back(part_of(text_of(json[2], "the HF name")));
  }
  row.megatron_local = optional_text(options, "local");
  if (row.megatron_local.empty()) row.megatron_local = row.megatron;
  if (const Json* aliases = find(options, "aliases")) {
    row.aliases = texts_of(*aliases, "'aliases'");
  }
  row.groups = optional_expr(options, "groups");
  row.heads = optional_expr(options, "heads");
  row.when = optional_expr(options, "when");
  row.experts = optional_expr(options, "experts");
  row.gated = optional_flag(options, "gated");
  if (const Json* split = find(options, "split")) read_split(*split, row);
  if (const Json* chunks = find(options, "chunks")) {
    for (const std::string& text : texts_of(*chunks, "'chunks'")) {
      row.chunks.push_back(Expr::parse(text));
    }
  }
  row.dtypes = dtypes_of(options, "dtypes");
  if (row.dtypes.empty()) {
    row.dtypes = {bridge::Dtype::kF32, bridge::Dtype::kBF16, bridge::Dtype::kF16};
  }
  const std::string keep = optional_text(options, "keep");
  if (!keep.empty()) row.keep = dtype_of(keep);
  for (const std::string& family : families_of(options, row.megatron, table)) {
    row.family = family;
    table.rows.push_back(row);
  }
}

void read_drop(const Json& json, int line, Table& table) {
  if (!json.is_array() || json.size() < 2 || json.size() > 3) {
    bad_input("a drop is [hf, reason, {options}]");
  }
  const Json options = json.size() == 3 ? expect_object(json[2], "the options") : Json::object();
  expect_keys(options, {"when", "equals", "regenerate", "family"});
  Drop drop;
  drop.line = line;
  drop.hf = text_of(json[0], "the HF name");
  drop.reason = text_of(json[1], "the reason");
  if (drop.reason.empty()) bad_input("the reason is empty");
  drop.when = optional_expr(options, "when");
  drop.equals = optional_text(options, "equals");
  drop.regenerate = optional_flag(options, "regenerate");
  if (drop.regenerate && drop.equals.empty()) bad_input("'regenerate' needs 'equals'");
  for (const std::string& family : families_of(options, drop.hf, table)) {
    drop.family = family;
    table.drops.push_back(drop);
  }
}

void read_extra_state(const Json& json, int line, Table& table) {
  if (!json.is_string() && !(json.is_array() && json.size() == 2)) {
    bad_input("an entry is a module name or [module, {options}]");
  }
  const Json options = json.is_array() ? expect_object(json[1], "the options") : Json::object();
  expect_keys(options, {"when", "experts", "family"});
  ExtraState state;
  state.line = line;
  state.module = text_of(json.is_array() ? json[0] : json, "the module name");
  state.when = optional_expr(options, "when");
  state.experts = optional_expr(options, "experts");
  for (const std::string& family : families_of(options, state.module, table)) {
    state.family = family;
    table.extra_state.push_back(state);
  }
}

Quantization quantization_of(const Json& json, int line) {
  expect_keys(expect_object(json, "an entry"),
              {"dtype", "weight", "scale", "block", "scale_dtypes", "power_of_two", "stored"});
  Quantization result;
  result.line = line;
  result.dtype = dtype_of(optional_text(json, "dtype"));
  result.stored = find(json, "stored") ? dtype_of(optional_text(json, "stored")) : result.dtype;
  result.weight = optional_text(json, "weight");
  result.scale = optional_text(json, "scale");
  result.scale_dtypes = dtypes_of(json, "scale_dtypes");
  result.power_of_two =
      find(json, "power_of_two") ? optional_expr(json, "power_of_two") : Expr::parse("false");
  const Json* const block = find(json, "block");
  if (block == nullptr || texts_of(*block, "'block'").size() != 2) {
    bad_input("'block' must be a list of two expressions: rows, columns");
  }
  result.block_rows = Expr::parse((*block)[0].get<std::string>());
  result.block_columns = Expr::parse((*block)[1].get<std::string>());
  return result;
}

Notice notice_of(const Json& json, int line) {
  if (!json.is_array() || json.size() != 2) bad_input("a notice is [condition, text]");
  Notice notice;
  notice.line = line;
  notice.when = Expr::parse(text_of(json[0], "the condition"));
  notice.text = text_of(json[1], "the text");
  if (notice.text.empty()) bad_input("the text is empty");
  return notice;
}

OtherModel other_model_of(const Json& json, int line) {
  if (!json.is_array() || json.size() != 3) bad_input("an entry is [name, text, remedy]");
  return {text_of(json[0], "the name"), text_of(json[1], "the text"),
          text_of(json[2], "the remedy"), line};
}

class TableReader {
 public:
  TableReader(std::string_view text, std::string file) : lines_(element_lines(text)) {
    table_.file = std::move(file);
  }

  Table read(const Json& top) {
    expect_object(top, "the table");
    expect_keys(
        top, {"architectures", "model_types", "config_root", "values", "dims", "dialects",
              "families", "mtp", "mtp_uncounted", "tied", "per_layer_keys", "quantization", "rows",
              "drop", "extra_state", "refuse", "warn", "not_served", "megatron_config"});
    if (const Json* json = find(top, "architectures")) {
      table_.architectures = texts_of(*json, "'architectures'");
    }
    if (const Json* json = find(top, "model_types")) {
      table_.model_types = texts_of(*json, "'model_types'");
    }
    table_.config_root = optional_text(top, "config_root");
    read_named_expressions(top, "values", table_.values);
    read_named_expressions(top, "dims", table_.dims);
    read_dialects(top);
    read_families(top);
    table_.mtp_key = optional_text(top, "mtp");
    if (const Json* const json = find(top, "mtp_uncounted")) {
      with_context("'mtp_uncounted'",
                   [&] { table_.mtp_uncounted = notice_of(*json, line_of("mtp_uncounted", 0)); });
    }
    each(top, "quantization", "quantization", [&](const Json& json, int line) {
      table_.quantization.push_back(quantization_of(json, line));
    });
    table_.tied = find(top, "tied") ? optional_expr(top, "tied") : Expr::parse("false");
    table_.per_layer_keys =
        find(top, "per_layer_keys") ? optional_expr(top, "per_layer_keys") : Expr::parse("false");
    each(top, "rows", "row", [&](const Json& json, int line) { read_row(json, line, table_); });
    each(top, "drop", "drop", [&](const Json& json, int line) { read_drop(json, line, table_); });
    each(top, "extra_state", "extra_state",
         [&](const Json& json, int line) { read_extra_state(json, line, table_); });
    each(top, "refuse", "refuse",
         [&](const Json& json, int line) { table_.refuse.push_back(notice_of(json, line)); });
    each(top, "warn", "warn",
         [&](const Json& json, int line) { table_.warn.push_back(notice_of(json, line)); });
    each(top, "not_served", "not_served", [&](const Json& json, int line) {
      table_.not_served.push_back(other_model_of(json, line));
    });
    read_megatron_config(top);
    check_table(table_);
    return std::move(table_);
  }

 private:
  int line_of(const std::string& section, size_t i) const {
    const auto it = lines_.find(section);
    return it == lines_.end() || i >= it->second.size() ? 0 : it->second[i];
  }

  template <typename Fn>
  void each(const Json& top, const std::string& section, std::string_view kind, const Fn& fn) {
    const Json* const json = find(top, section);
    if (json == nullptr) return;
    if (!json->is_array()) bad_input(fmt::format("'{}' must be a list", section));
    if (json->size() > kMostElements) {
      bad_input(
          fmt::format("'{}' has {} elements (at most {})", section, json->size(), kMostElements));
    }
    for (size_t i = 0; i < json->size(); ++i) {
      const int line = line_of(section, i);
      with_context([&] { return fmt::format("{} at line {}", kind, line); },
                   [&] { fn((*json)[i], line); });
    }
  }

  template <typename Fn>
  void each_member(const Json& top, const std::string& section, const Fn& fn) {
    const Json* const json = find(top, section);
    if (json == nullptr) return;
    expect_object(*json, fmt::format("'{}'", section));
    if (json->size() > kMostElements) {
      bad_input(
          fmt::format("'{}' has {} members (at most {})", section, json->size(), kMostElements));
    }
    size_t i = 0;
    for (const auto& [key, value] : json->items()) {
      const int line = line_of(section, i++);
      const std::string& name = key;
      const Json& member = value;
      with_context(
          [&] { return fmt::format("{} '{}' at line {}", section, printable(name), line); },
          [&] { fn(name, member, line); });
    }
  }

  void read_named_expressions(const Json& top, const std::string& section, NamedExprs& out) {
    each_member(top, section, [&](const std::string& name, const Json& json, int) {
      out.emplace_back(name, Expr::parse(text_of(json, "the value")));
    });
  }

  void read_dialects(const Json& top) {
    each(top, "dialects", "dialect", [&](const Json& json, int) {
      expect_object(json, "a dialect");
      std::vector<std::pair<std::string, std::string>> dialect;
      for (const auto& [key, value] : json.items()) {
        dialect.emplace_back(key, text_of(value, "a dialect's text"));
      }
      std::sort(dialect.begin(), dialect.end());
      table_.dialects.push_back(std::move(dialect));
    });
    if (table_.dialects.empty()) table_.dialects.emplace_back();
    // What a dialect leaves out is spelled as in the first; of equal placeholders, its own text is taken.
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
    each_member(top, "families", [&](const std::string& name, const Json& json, int line) {
      expect_keys(expect_object(json, "a family"),
                  {"megatron", "aliases", "hf", "count", "let", "mtp"});
      Family family;
      family.name = name;
      family.line = line;
      family.megatron = optional_text(json, "megatron");
      family.hf = optional_text(json, "hf");
      family.count = optional_expr(json, "count");
      family.mtp = optional_flag(json, "mtp");
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
    each_member(top, "megatron_config", [&](const std::string& name, const Json& json, int line) {
      ProviderField field;
      field.name = name;
      field.line = line;
      if (json.is_string()) {
        field.value = Expr::parse(json.get<std::string>());
      } else {
        field.literal = json;
      }
      table_.megatron_config.push_back(std::move(field));
    });
  }

  std::map<std::string, std::vector<int>> lines_;
  Table table_;
};

}  // namespace

Table parse_table(std::string_view text, std::string file) {
  const std::string context = printable(file);
  return with_context(context, [&] {
    const Json top = bridge::parse_json(text, kLimits);
    return TableReader(text, std::move(file)).read(top);
  });
}

}  // namespace mappings
