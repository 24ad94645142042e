// Finds the names of a table that no built-in table has: Megatron keys, modules and provider fields
// that are more likely misspelt than new ("linear_qkvv", "layer_norm_epsilon"). No other check
// would notice a name that is wrong in both directions.
#pragma once

#include <string>
#include <vector>

#include "mappings/table/table.h"

namespace mappings {

// One line per name, with the nearest name of a built-in table if one is near. After a few dozen
// lines the last line only counts the rest.
std::vector<std::string> unfamiliar_names(const Table& table);

}  // namespace mappings
