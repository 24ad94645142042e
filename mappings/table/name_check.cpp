#include "mappings/table/name_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bridge/io/base/error.h"
#include "mappings/table/pattern.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;

bool is_dialect_placeholder(const Table& table, const std::string& name) {
  const auto& dialect = table.dialects[0];
  return std::any_of(dialect.begin(), dialect.end(),
                     [&](const auto& entry) { return entry.first == name; });
}

// Key naming relies on this: the expert's number is a component of its own and, in a Megatron name,
// the last number.
void check_expert_place(const std::string& name, const std::string& placeholder, bool megatron) {
  const std::string braced = "{" + placeholder + "}";
  const size_t at = name.find(braced);
  const bool component = at > 0 && at != std::string::npos && name[at - 1] == '.' &&
                         at + braced.size() < name.size() && name[at + braced.size()] == '.';
  if (!component) {
    bad_input(fmt::format("'{}' must have {{e}} once, between dots", printable(name)));
  }
  const std::string_view rest = std::string_view(name).substr(at + braced.size());
  for (size_t i = 0; megatron && i + 1 < rest.size(); ++i) {
    if (rest[i] == '.' && ((rest[i + 1] >= '0' && rest[i + 1] <= '9') || rest[i + 1] == '{')) {
      bad_input(fmt::format("'{}' has a number or placeholder after {{e}}", printable(name)));
    }
  }
}

}  // namespace

bool is_identifier(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

bool is_name_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

void check_no_repeats(const std::vector<std::string>& names, std::string_view what) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (name.empty()) bad_input(fmt::format("empty entry in {}", what));
    if (!seen.insert(name).second) {
      bad_input(fmt::format("'{}' twice in {}", printable(name), what));
    }
  }
}

void check_name(const Table& table, const std::string& name, std::string_view prefix,
                const std::string& family, bool per_expert) {
  if (name.empty()) bad_input("empty name");
  if (name.size() > kLongestName) {
    bad_input(fmt::format("name of {} bytes (at most {})", name.size(), kLongestName));
  }
  bool has_prefix = false;
  std::string expert;  // the placeholder of the expert's number
  for (const PatternPiece& piece : split_pattern(name)) {
    if (!piece.placeholder) {
      if (!is_name_text(piece.text)) {
        bad_input(fmt::format("'{}' has characters no tensor name has", printable(name)));
      }
    } else if (piece.text == prefix) {
      if (has_prefix) bad_input(fmt::format("'{}' has {{{}}} twice", printable(name), prefix));
      has_prefix = true;
    } else if (per_expert && expert.empty() &&
               (piece.text == "e" || (prefix == "H" && piece.text != "L" &&
                                      !is_dialect_placeholder(table, piece.text)))) {
      Expr::parse(piece.text);
      expert = piece.text;
    } else if (prefix == "L" || !is_dialect_placeholder(table, piece.text)) {
      bad_input(fmt::format("unknown placeholder {{{}}} in '{}'", printable(piece.text),
                            printable(name)));
    }
  }
  if (per_expert) check_expert_place(name, expert, prefix == "L");
  if (has_prefix && family.empty()) {
    bad_input(fmt::format("'{}' has {{{}}} but no family", printable(name), prefix));
  }
  if (!has_prefix && !family.empty()) {
    bad_input(fmt::format("'{}' is for family '{}' but has no {{{}}}", printable(name),
                          printable(family), prefix));
  }
}

void check_prefix(const Table& table, const std::string& prefix, bool megatron) {
  if (prefix.size() > kLongestName) bad_input("prefix too long");
  int indexes = 0;
  for (const PatternPiece& piece : split_pattern(prefix)) {
    if (!piece.placeholder) {
      if (!is_name_text(piece.text)) {
        bad_input(fmt::format("'{}' has characters no tensor name has", printable(prefix)));
      }
    } else if (piece.text == "l") {
      ++indexes;
    } else if (megatron) {
      bad_input(fmt::format("unknown placeholder {{{}}} in '{}'", printable(piece.text),
                            printable(prefix)));
    } else if (!is_dialect_placeholder(table, piece.text)) {
      Expr::parse(piece.text);
    }
  }
  if (!megatron) return;
  const size_t at = prefix.find("{l}");
  const bool component = at != std::string::npos && at > 0 && prefix[at - 1] == '.' &&
                         (at + 3 == prefix.size() || prefix[at + 3] == '.');
  if (indexes != 1 || !component) {
    bad_input(fmt::format("'{}' must have {{l}} once, between dots", printable(prefix)));
  }
}

}  // namespace mappings
