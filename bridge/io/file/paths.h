// Questions about paths that need no look at the file system.
#pragma once

#include "bridge/io/file/file_system.h"

namespace bridge {

// Whether path is folder or lies below it, by the names alone: neither needs to exist.
bool lies_in(const Path& path, const Path& folder);

}  // namespace bridge
