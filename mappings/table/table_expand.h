// A table as it is written, with fragments and row groups, into the self-contained table that it
// stands for. Internal to mappings.
//
//   1. "use" names fragments, objects of the keys of a table, each perhaps with a family, a
//      condition and a part for what it adds
//   2. lists (rows, drop, refuse, ...): those of the fragments in the order of "use"; the table's
//      own where it has "...", else after them
//   3. objects (values, dims, families, megatron_config): members likewise; one of the table's own
//      replaces that of a fragment, where it stands. Two fragments with a member of one name are an
//      error
//   4. any other key: the table's own, else the fragment's
//   5. a group in rows, drop or extra_state becomes its elements, with the options of the group in
//      each of them
// Fragments use no fragments, and groups hold no groups. docs/mapping-tables.md is the format.
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
  // Section -> place of each element of its list or member of its object.
  std::map<std::string, std::vector<Place>> places;
};

// What is wrong with an element is left to its reader; errors of "use" and groups are kBadInput.
ExpandedTable expand_table(std::string_view text, std::span<const EmbeddedText> fragments);

}  // namespace mappings
