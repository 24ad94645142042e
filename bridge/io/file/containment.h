// Tells whether one path lies in another, regardless of names: symlinks are resolved and folders
// are compared by inode, so bind mounts and case-insensitive names make no difference.
#pragma once

#include "bridge/io/file/file_system.h"

namespace bridge {

bool same_file(const Stat& a, const Stat& b);

// True if `real`, a path without symlinks, is the folder or lies in it.
bool lies_in(FileSystem& fs, Path real, const Stat& folder);

// The parent folder; "." for a bare name.
Path parent_of(const Path& path);

}  // namespace bridge
