// The mapping tables compiled into the binary (see cmake/EmbedTables.cmake).
#pragma once

#include <span>
#include <string_view>

namespace mappings {

struct EmbeddedTable {
  std::string_view file;  // "llama.jsonc"
  std::string_view text;
};

std::span<const EmbeddedTable> embedded_tables();

}  // namespace mappings
