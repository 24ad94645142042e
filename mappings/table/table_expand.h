// Expands a table as written, with fragments and row groups, into the self-contained table that it
// stands for. Internal to mappings.
//
//   1. "use" names fragments, which are objects with the keys of a table; each use may give a
//      family, a condition and a part to what it adds
//   2. lists (rows, drop, refuse, ...): the lists of the fragments are joined in the order of
//      "use"; the table's own list stands at "...", or at the end without "..."
//   3. objects (values, dims, families, megatron_config): members are joined in the same way; a
//      member of the table replaces that of a fragment in its position. Two fragments with a member
//      of the same name are an error
//   4. any other key: the table's own value, else that of the fragment
//   5. a group in rows, drop or extra_state becomes its elements, each with the options of the
//      group
// Fragments use no fragments, and groups hold no groups. docs/mapping-tables.md has the format.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mappings/expr/expr.h"
#include "mappings/table/embedded.h"
#include "mappings/table/place.h"

namespace mappings {

struct ExpandedTable {
  Json top;
  // Section -> the place of each element of its list or member of its object.
  std::map<std::string, std::vector<Place>> places;
};

// Errors: kBadInput for "use" and groups; the reader of an element reports what is wrong with it.
ExpandedTable expand_table(std::string_view text, std::span<const EmbeddedText> fragments);

}  // namespace mappings
