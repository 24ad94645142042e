// Where an element of a table was written, for messages: a line of its file, or of a fragment.
#pragma once

#include <string>

namespace mappings {

struct Place {
  int line = 0;          // from 1
  std::string fragment;  // "common/rope.jsonc"; empty: the table's own file

  // "line 12", "line 12 of common/rope.jsonc"
  std::string text() const {
    std::string text = "line " + std::to_string(line);
    if (!fragment.empty()) text += " of " + fragment;
    return text;
  }

  bool operator==(const Place&) const = default;
};

}  // namespace mappings
