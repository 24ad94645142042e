#include "mappings/table/row_parse.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "mappings/table/model_parts.h"
#include "mappings/table/table_json.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;

// Splits "a, f[b, c], d" at its outer commas.
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

// Reads "{H}.mlp.up_proj.weight [ffn, hidden]".
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

// The families of an element: those that it names; else, if it uses a prefix, the only family of
// the table.
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

// Reads "split": suffixes of equal parts, or suffixes with the rows of each.
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

}  // namespace

void read_row(const Json& json, const Place& place, Table& table) {
  if (!json.is_array() || json.size() < 3 || json.size() > 4) {
    bad_input("a row is [megatron, op, hf, {options}]");
  }
  const Json options = json.size() == 4 ? expect_object(json[3], "the options") : Json::object();
  expect_keys(options, {"aliases", "local", "groups", "heads", "blocks", "gated", "split", "chunks",
                        "when", "experts", "dtypes", "keep", "family", "part"});
  Row row;
  row.place = place;
  row.megatron = text_of(json[0], "the Megatron name");
  row.op = &op_named(text_of(json[1], "the op"));
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
  for (size_t i = 0; i < kNumberOptions.size(); ++i) {
    row.numbers[i] = optional_expr(options, kNumberOptions[i].name);
  }
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
    row.part = part_option(options, table.find_family(family));
    table.rows.push_back(row);
  }
}

void read_drop(const Json& json, const Place& place, Table& table) {
  if (!json.is_array() || json.size() < 2 || json.size() > 3) {
    bad_input("a drop is [hf, reason, {options}]");
  }
  const Json options = json.size() == 3 ? expect_object(json[2], "the options") : Json::object();
  expect_keys(options, {"when", "equals", "regenerate", "family", "part"});
  Drop drop;
  drop.place = place;
  drop.hf = text_of(json[0], "the HF name");
  drop.reason = text_of(json[1], "the reason");
  if (drop.reason.empty()) bad_input("the reason is empty");
  drop.when = optional_expr(options, "when");
  drop.equals = optional_text(options, "equals");
  drop.regenerate = optional_flag(options, "regenerate");
  if (drop.regenerate && drop.equals.empty()) bad_input("'regenerate' needs 'equals'");
  for (const std::string& family : families_of(options, drop.hf, table)) {
    drop.family = family;
    drop.part = part_option(options, table.find_family(family));
    table.drops.push_back(drop);
  }
}

void read_extra_state(const Json& json, const Place& place, Table& table) {
  if (!json.is_string() && !(json.is_array() && json.size() == 2)) {
    bad_input("an entry is a module name or [module, {options}]");
  }
  const Json options = json.is_array() ? expect_object(json[1], "the options") : Json::object();
  expect_keys(options, {"when", "experts", "family", "part", "spec"});
  ExtraState state;
  state.place = place;
  state.module = text_of(json.is_array() ? json[0] : json, "the module name");
  state.when = optional_expr(options, "when");
  state.experts = optional_expr(options, "experts");
  state.spec = optional_text(options, "spec");
  if (!state.spec.empty() && state.spec != "te" && state.spec != "local") {
    bad_input("'spec' is \"te\" or \"local\"");
  }
  for (const std::string& family : families_of(options, state.module, table)) {
    state.family = family;
    state.part = part_option(options, table.find_family(family));
    table.extra_state.push_back(state);
  }
}

}  // namespace mappings
