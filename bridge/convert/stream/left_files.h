// What a resumed run needs of the files that an earlier run left in the partial folder.
#pragma once

#include <functional>
#include <string>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Reports kBadInput unless path is a regular file of that size. Follows no symlinks.
void check_left_file(FileSystem& fs, const Path& path, int64_t size);

// Removes from the folder everything that `keeps` does not name. Reports kBadInput if there is no
// such folder.
void remove_all_but(FileSystem& fs, const Path& folder,
                    const std::function<bool(const std::string& name)>& keeps);

// Returns the CRC-32 of some bytes of a file that follow bytes with the CRC `seed`.
uint32_t crc_of_range(const File& file, int64_t offset, int64_t size, uint32_t seed);

}  // namespace bridge
