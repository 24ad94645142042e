// Questions about paths that need no look at the file system.
#pragma once

#include "bridge/io/file/file_system.h"

namespace bridge {

// Whether path is folder or lies below it, by the names alone: neither needs to exist. Through
// symlinks and mounts sees lies_in (containment.h).
bool lies_in_by_name(const Path& path, const Path& folder);

}  // namespace bridge
