#include "bridge/convert/commit/conversion_id.h"

#include <fmt/format.h>

#include "bridge/io/file/sha256.h"

namespace bridge {

std::string conversion_id(const ConversionInputs& facts) {
  Sha256 hash;
  hash.add(fmt::format("{}\n{}\n{}\n{}\n{}\n", facts.version, facts.identity, facts.table.sha256,
                       facts.choices.dump(), facts.file_size));
  for (const std::optional<uint32_t>& crc : facts.tensor_crcs) {
    hash.add(crc ? fmt::format("{:08x}\n", *crc) : "-\n");
  }
  return hash.hex();
}

}  // namespace bridge
