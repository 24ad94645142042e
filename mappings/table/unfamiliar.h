// Names of a table that no built-in table has: Megatron keys, modules and provider fields that are
// likelier misspelt than new ("linear_qkvv", "layer_norm_epsilon"). Nothing else would notice one
// that is wrong in both directions.
#pragma once

#include <string>
#include <vector>

#include "mappings/table/table.h"

namespace mappings {

// A line for each, with the nearest name that a built-in table has where one is near; past some
// dozens, their number.
std::vector<std::string> unfamiliar_names(const Table& table);

}  // namespace mappings
