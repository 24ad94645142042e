// A table as the self-contained text that it stands for: no fragments, no groups. It parses to the
// same table.
#pragma once

#include <string>
#include <string_view>

namespace mappings {

struct ExpandedTable;

// Of a table that parses. file: of the text, for messages and the first line.
std::string self_contained_text(std::string_view text, std::string_view file);

// The same without the first line: what the table says, whatever its file is called and whether a
// fragment or the table itself says it.
std::string self_contained_text(const ExpandedTable& table);

}  // namespace mappings
