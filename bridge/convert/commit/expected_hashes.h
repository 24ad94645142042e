// --expect FILE: published SHA-256 sums of the source's shards, "sha256  shard" a line as sha256sum prints
// them ("*" before the name allowed). Checked before the output is committed.
#pragma once

#include <map>
#include <string>

#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// Empty for an empty path. Errors: kBadInput for a line of another form or a shard that is not there.
std::map<std::string, std::string> read_expected_hashes(FileSystem& fs, const Path& file,
                                                        const HfFolder& source);

// kBadInput naming the first shard whose sum differs.
void check_expected_hashes(FileSystem& fs, const HfFolder& source,
                           const std::map<std::string, std::string>& expected);

}  // namespace bridge
