// A scan that knows strings (with their escapes) from the rest is enough: outside of them these words are numbers or the
// text is no JSON. A word counts only where a value may begin and end, so that "1NaN" does not become a number.
#include "bridge/io/base/json_non_finite.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

struct Word {
  std::string_view text;
  std::string_view instead;
  double value;
};
constexpr std::array kWords = {
    Word{"NaN", "0.0", std::numeric_limits<double>::quiet_NaN()},
    Word{"Infinity", "0.000000", std::numeric_limits<double>::infinity()},
    Word{"-Infinity", "-0.000000", -std::numeric_limits<double>::infinity()},
};

bool is_one_of(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

// The word at this place; nullptr: none.
const Word* word_at(std::string_view json, size_t at) {
  constexpr std::string_view kSpace = " \t\r\n";
  if (at > 0 && !is_one_of(json[at - 1], kSpace) && !is_one_of(json[at - 1], ":[,")) return nullptr;
  for (const Word& word : kWords) {
    if (!json.substr(at).starts_with(word.text)) continue;
    const size_t end = at + word.text.size();
    if (end == json.size() || is_one_of(json[end], kSpace) || is_one_of(json[end], ",]}")) {
      return &word;
    }
  }
  return nullptr;
}

// The place behind the string that opens here.
size_t skip_string(std::string_view json, size_t at) {
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] == '\\') ++at;
  }
  return at + 1;
}

std::string scalar_text(const Json& json) {
  if (json.is_number_float()) {
    const auto value = json.get<double>();
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  }
  return json.dump();
}

void emit(const Json& json, size_t indent, std::string& out) {
  if (!json.is_structured() || json.empty()) {
    out += scalar_text(json);
    return;
  }
  out += json.is_object() ? '{' : '[';
  bool first = true;
  for (const auto& [key, value] : json.items()) {
    out += first ? "\n" : ",\n";
    first = false;
    out.append(indent + 2, ' ');
    if (json.is_object()) out += Json(key).dump() + ": ";
    emit(value, indent + 2, out);
  }
  out += '\n';
  out.append(indent, ' ');
  out += json.is_object() ? '}' : ']';
}

}  // namespace

const double* NonFiniteNumbers::ending_at(size_t end) const {
  const auto at = std::lower_bound(found.begin(), found.end(), end,
                                   [](const auto& item, size_t e) { return item.first < e; });
  return at != found.end() && at->first == end ? &at->second : nullptr;
}

NonFiniteNumbers replace_non_finite(std::string_view json) {
  NonFiniteNumbers result;
  const auto has = [&](std::string_view word) { return json.find(word) != std::string_view::npos; };
  if (!has("NaN") && !has("Infinity")) return result;
  for (size_t at = 0; at < json.size();) {
    if (json[at] == '"') {
      at = skip_string(json, at);
    } else if (const Word* word = word_at(json, at); word != nullptr) {
      if (result.text.empty()) result.text = json;
      result.text.replace(at, word->instead.size(), word->instead);
      at += word->text.size();
      result.found.emplace_back(at, word->value);
    } else {
      ++at;
    }
  }
  return result;
}

std::string dump_with_non_finite(const Json& json) {
  std::string out;
  emit(json, 0, out);
  return out;
}

}  // namespace bridge
