// The id that a sidecar shares with the iteration it was written with.
//
// The id keeps the halves of two conversions from being taken for one. The same input, table,
// options and version give the same id on any machine at any time.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mappings/table/table.h"

namespace bridge {

struct ConversionInputs {
  std::string_view identity;  // source_identity() of the source
  const std::vector<std::optional<uint32_t>>& tensor_crcs;
  const mappings::Table& table;
  const nlohmann::ordered_json& choices;  // the options that decide bytes
  int64_t file_size;
  std::string_view version;
};

// Returns the SHA-256 of the inputs as 64 hexadecimal digits.
std::string conversion_id(const ConversionInputs& facts);

}  // namespace bridge
