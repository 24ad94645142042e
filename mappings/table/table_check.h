// The checks of a table that need no configuration. Internal to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// Errors: kBadInput "row at line N: what".
void check_table(const Table& table);

}  // namespace mappings
