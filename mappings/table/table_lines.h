// Where the elements of a table's sections begin, for error messages: the JSON parser keeps no
// positions. Internal to mappings.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mappings {

// Key of the top object -> line (from 1) on which each element of its array or member of its object
// starts. The text must be valid JSON with comments, as parse_json accepts it.
std::map<std::string, std::vector<int>> element_lines(std::string_view text);

}  // namespace mappings
