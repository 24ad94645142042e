// The tables compiled into the binary, and the choice of one by config.json. The first call reads
// the heads of all tables; a table is parsed when it is requested.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mappings/table/table.h"
#include "mappings/table/table_head.h"

namespace mappings {

// All embedded tables, ordered by file name. The tables that this and find_table() return live
// until the program ends; both functions are thread-safe.
std::vector<const Table*> builtin_tables();

struct NamedHead {
  std::string_view file;  // "llama.jsonc"
  TableHead head;
};
const std::vector<NamedHead>& builtin_heads();

// Chooses by config.json ("architectures", else "model_type"); override_name (--arch: an
// architecture, a model type, or a table's name without ".jsonc") takes precedence. Errors:
// kUnsupported; for an unknown model the message lists the architectures that the tables serve.
const Table& find_table(const Json& config, std::string_view override_name);

// The text, as written, of an embedded table ("llama.jsonc") or fragment ("common/rope.jsonc");
// empty if there is no such file.
std::string_view builtin_text(std::string_view file);

}  // namespace mappings
