// The tables compiled into the binary, and the choice of one by config.json. Their heads are read
// at the first call, a table is parsed when it is asked for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mappings/table/table.h"
#include "mappings/table/table_head.h"

namespace mappings {

// All embedded tables, in order of their files' names. What this and find_table() return lives
// until the program ends; both are thread-safe.
std::vector<const Table*> builtin_tables();

struct NamedHead {
  std::string_view file;  // "llama.jsonc"
  TableHead head;
};
const std::vector<NamedHead>& builtin_heads();

// By config.json ("architectures", else "model_type"); override_name (--arch: an architecture, a
// model type, or a table's name without ".jsonc") wins. kUnsupported lists what is there.
const Table& find_table(const Json& config, std::string_view override_name);

// The text of an embedded table, "llama.jsonc", or fragment, "common/rope.jsonc", as it was
// written; empty: there is none.
std::string_view builtin_text(std::string_view file);

}  // namespace mappings
