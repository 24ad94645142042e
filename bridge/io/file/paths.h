// Questions about paths that can be answered without looking at the file system.
#pragma once

#include "bridge/io/file/file_system.h"

namespace bridge {

// True if path is folder or lies below it, by the names alone: neither needs to exist. lies_in
// (containment.h) also follows symlinks and mounts.
bool lies_in_by_name(const Path& path, const Path& folder);

}  // namespace bridge
