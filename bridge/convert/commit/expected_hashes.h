// --expect FILE: the published SHA-256 sums of the source's shards, checked before the commit.
//
// Each line reads "sha256  shard", as sha256sum prints it; a "*" may replace the second space.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// Returns the sums by the name of the shard; none for an empty path. Errors: kBadInput for a line
// of another form or a shard that the source does not have.
std::map<std::string, std::string> read_expected_hashes(FileSystem& fs, const Path& file,
                                                        const HfFolder& source);

// Compares the shards with the sums. SHA-256 needs a file in order, and copying reads it in another
// order, so this reads each shard once more. The CRC of every tensor must then equal that of the
// copy, which finds an error that only one of the two readings had. crcs: by index of
// source.tensors; nullopt: not copied. Errors: kBadInput that names the first shard whose sum
// differs or whose bytes are not those that were copied.
void check_expected_hashes(FileSystem& fs, const HfFolder& source,
                           const std::vector<std::optional<uint32_t>>& crcs,
                           const std::map<std::string, std::string>& expected);

}  // namespace bridge
