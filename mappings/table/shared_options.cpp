#include "mappings/table/shared_options.h"

#include <utility>

#include "mappings/table/table_json.h"

namespace mappings {
namespace {

bool uses_prefix(const Json& element) {
  const Json& first = element[0];
  if (!first.is_string()) return false;
  const std::string& name = first.get_ref<const std::string&>();
  return name.find("{L}") != std::string::npos || name.find("{H}") != std::string::npos;
}

// Whether && binds tighter than an operator of the text.
bool needs_parentheses(const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "||") == 0) return true;
    if (text.compare(i, 2, "??") == 0) {
      ++i;
    } else if (text[i] == '?') {
      return true;
    }
  }
  return false;
}

// Each must be an expression by itself: "a) || (b" is none.
std::string conjunct(const Json& when) {
  const std::string text = text_of(when, "'when'");
  Expr::parse(text);
  return needs_parentheses(text) ? "(" + text + ")" : text;
}

}  // namespace

std::optional<size_t> options_index(const std::string& section) {
  if (section == "rows") return 3;
  if (section == "drop") return 2;
  if (section == "extra_state") return 1;
  return std::nullopt;
}

SharedOptions::SharedOptions(Json options)
    : options_(std::move(options)),
      text_size_(options_.empty() ? 0 : static_cast<int64_t>(options_.dump().size())) {}

void SharedOptions::add_to(Json& element, size_t index) const {
  if (empty()) return;
  // A module without options may be written as its name alone.
  Json parts = element.is_string() && index == 1 ? Json::array({element}) : element;
  if (!parts.is_array() || parts.size() < index || parts.size() > index + 1) return;
  if (parts.size() == index) parts.push_back(Json::object());
  Json& own = parts[index];
  if (!own.is_object()) return;
  for (const auto& [name, value] : options_.items()) {
    if (name == "family" && !uses_prefix(parts)) continue;
    const Json* const own_value = find(own, name);
    if (own_value == nullptr) {
      own[name] = value;
    } else if (name == "when") {
      own[name] = conjunct(value) + " && " + conjunct(*own_value);
    }
  }
  if (!own.empty()) element = std::move(parts);
}

}  // namespace mappings
