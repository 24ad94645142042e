// --expect FILE: published SHA-256 sums of the source's shards, "sha256  shard" a line as sha256sum prints
// them ("*" before the name allowed). Checked before the output is committed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// Empty for an empty path. Errors: kBadInput for a line of another form or a shard that is not there.
std::map<std::string, std::string> read_expected_hashes(FileSystem& fs, const Path& file,
                                                        const HfFolder& source);

// kBadInput naming the first shard whose sum differs, or whose bytes here are not those that were copied: SHA-256 wants the
// file in order, which copying does not have, so the shard is read once more, and the CRC of every tensor on the way (crcs:
// by index of source.tensors; nullopt: not copied) must be that of the copy. An error of reading that only one of the two
// had is found like that, whatever caused it.
void check_expected_hashes(FileSystem& fs, const HfFolder& source,
                           const std::vector<std::optional<uint32_t>>& crcs,
                           const std::map<std::string, std::string>& expected);

}  // namespace bridge
