// Readers of a table's rows, drops and extra_state modules. Each reads one element of the file,
// which stands for one entry per family that it names. Internal to mappings.
// The format is in docs/mapping-tables.md.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// Each appends to the table, whose families and dialects must have been read.
void read_row(const Json& json, const Place& place, Table& table);
void read_drop(const Json& json, const Place& place, Table& table);
void read_extra_state(const Json& json, const Place& place, Table& table);

}  // namespace mappings
