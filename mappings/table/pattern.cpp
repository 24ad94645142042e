#include "mappings/table/pattern.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace mappings {

std::vector<PatternPiece> split_pattern(std::string_view pattern) {
  const auto fail = [&](std::string_view what) {
    bridge::bad_input(fmt::format("'{}': {}", bridge::printable(pattern), what));
  };
  std::vector<PatternPiece> pieces;
  size_t at = 0;
  while (at < pattern.size()) {
    const size_t brace = pattern.find_first_of("{}", at);
    if (brace == std::string_view::npos) {
      pieces.push_back({std::string(pattern.substr(at)), false});
      break;
    }
    if (pattern[brace] == '}') fail("'}' without '{'");
    if (brace > at) pieces.push_back({std::string(pattern.substr(at, brace - at)), false});
    const size_t end = pattern.find_first_of("{}", brace + 1);
    if (end == std::string_view::npos || pattern[end] == '{') fail("'{' without '}'");
    if (end == brace + 1) fail("empty placeholder");
    pieces.push_back({std::string(pattern.substr(brace + 1, end - brace - 1)), true});
    at = end + 1;
  }
  return pieces;
}

std::string fill_pattern(const std::vector<PatternPiece>& pieces,
                         const std::function<std::string(const std::string&)>& resolve) {
  std::string text;
  for (const PatternPiece& piece : pieces) {
    text += piece.placeholder ? resolve(piece.text) : piece.text;
  }
  return text;
}

}  // namespace mappings
