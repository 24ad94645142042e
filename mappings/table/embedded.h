// The mapping tables and the fragments compiled into the binary (see cmake/EmbedTables.cmake).
#pragma once

#include <span>
#include <string_view>

namespace mappings {

struct EmbeddedText {
  std::string_view file;  // "llama.jsonc"
  std::string_view text;
};

std::span<const EmbeddedText> embedded_tables();
std::span<const EmbeddedText> embedded_fragments();  // of tables/common/

}  // namespace mappings
