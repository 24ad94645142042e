// A table as the self-contained text that it stands for: no fragments, no groups. It parses to the
// same table.
#pragma once

#include <string>
#include <string_view>

namespace mappings {

// Of a table that parses. file: of the text, for messages and the first line.
std::string self_contained_text(std::string_view text, std::string_view file);

}  // namespace mappings
