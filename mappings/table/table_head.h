// The head of a built-in table: the keys that say which models it serves. The program reads the
// heads of all tables at start and parses only one table.
//
//   "architectures", "about", "model_types" and "not_served" come first in a built-in table; reading
//   ends at any other key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mappings/table/table.h"

namespace mappings {

struct TableHead {
  std::vector<std::string> architectures;
  std::vector<std::string> model_types;
  About about;
  std::vector<OtherModel> not_served;
};

TableHead read_head(std::string_view text);

}  // namespace mappings
