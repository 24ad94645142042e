// The id that a sidecar and the iteration it was written with have in common, so that the halves of two conversions are
// never taken for one. The same input, table, options and version give the same id, on any machine and at any time.
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
  std::string_view identity;  // of the source: names and headers of its shards
  const std::vector<std::optional<uint32_t>>& tensor_crcs;
  const mappings::Table& table;
  const nlohmann::ordered_json& choices;  // options that decide bytes
  int64_t file_size;
  std::string_view version;
};

// 64 hexadecimal digits.
std::string conversion_id(const ConversionInputs& facts);

}  // namespace bridge
