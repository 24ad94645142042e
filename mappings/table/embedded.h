// The mapping tables and fragments that cmake/EmbedTables.cmake compiles into the binary.
#pragma once

#include <span>
#include <string_view>

namespace mappings {

struct EmbeddedText {
  std::string_view file;  // "llama.jsonc"
  std::string_view text;
};

std::span<const EmbeddedText> embedded_tables();
std::span<const EmbeddedText> embedded_fragments();  // the files of tables/common/

}  // namespace mappings
