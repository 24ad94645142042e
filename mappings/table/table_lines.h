// Where the elements of a table begin, for error messages: the JSON parser keeps no positions.
// Internal to mappings.
#pragma once

#include <string_view>
#include <vector>

namespace mappings {

// A value of the text and the values in it: elements of an array, or members of an object, in
// order.
struct LineTree {
  int line = 0;  // on which it starts, from 1; for a member: its key
  std::vector<LineTree> children;
};

// The tree of the top value down to the elements of a row group. The text must be valid JSON with
// comments, as parse_json accepts it.
LineTree line_tree(std::string_view text);

}  // namespace mappings
