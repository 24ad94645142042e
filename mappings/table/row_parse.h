// Readers of a table's rows, drops and extra_state modules: one element of the file each, which counts once for each family
// that it names. Internal to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// Each appends to the table, whose families and dialects are read already.
void read_row(const Json& json, const Place& place, Table& table);
void read_drop(const Json& json, const Place& place, Table& table);
void read_extra_state(const Json& json, const Place& place, Table& table);

}  // namespace mappings
