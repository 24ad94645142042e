// The tables compiled into the binary, and the choice of one by config.json.
#pragma once

#include <string_view>
#include <vector>

#include "mappings/table/table.h"

namespace mappings {

// All embedded tables, parsed once. Thread-safe.
const std::vector<Table>& builtin_tables();
// By config.json ("architectures", else "model_type"); override_name (--arch: an architecture, a
// model type, or a table's name without ".jsonc") wins. kUnsupported lists what is there.
const Table& find_table(const Json& config, std::string_view override_name);

}  // namespace mappings
