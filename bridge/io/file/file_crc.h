// CRC-32 of a whole open file, and a copy that returns the CRC; both work in 1 MiB pieces.
#pragma once

#include <cstdint>

#include "bridge/io/file/file_system.h"

namespace bridge {

uint32_t crc_of_file(const File& file);
// Returns the CRC of the first `size` bytes, which the file must have.
uint32_t crc_of_file(const File& file, int64_t size);

// Copies `from` to the new file `to`, synced. Returns the CRC of what was copied.
uint32_t copy_file(FileSystem& fs, const Path& from, const Path& to);

}  // namespace bridge
