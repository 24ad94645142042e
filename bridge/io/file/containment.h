// Whether one path lies in another, whatever their names: symlinks are resolved and folders compared by inode, so bind
// mounts and case-insensitive names are seen through.
#pragma once

#include "bridge/io/file/file_system.h"

namespace bridge {

bool same_file(const Stat& a, const Stat& b);

// Whether a path without symlinks is the folder or lies in it.
bool lies_in(FileSystem& fs, Path real, const Stat& folder);

// "." for a bare name.
Path parent_of(const Path& path);

}  // namespace bridge
