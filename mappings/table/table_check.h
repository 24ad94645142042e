// Checks a table for everything that needs no configuration. table_check.cpp lists the checks.
// Internal to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// Errors: kBadInput "row at line N: what".
void check_table(const Table& table);

}  // namespace mappings
