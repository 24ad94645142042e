// Prints a table as the self-contained text that it stands for, without fragments and groups. The
// text parses to the same table.
#pragma once

#include <string>
#include <string_view>

namespace mappings {

struct ExpandedTable;

// text: a table that parses. file: the name of the text, for messages and the first line.
std::string self_contained_text(std::string_view text, std::string_view file);

// Like the above but without the first line: the content of the table, independent of its file name
// and of whether a fragment or the table itself states it, without "about".
std::string self_contained_text(const ExpandedTable& table);

}  // namespace mappings
