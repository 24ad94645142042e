// What --overwrite may replace: a checkpoint of either kind, or a sidecar. A mistyped path to anything else
// must not cost its content.
#pragma once

#include "bridge/io/file_system.h"

namespace bridge {

// Usage error when target is a folder with content that is neither. Absent and empty folders are fine, and so is
// what is no folder (OutputDir has its own word on that).
void refuse_to_replace_others(FileSystem& fs, const Path& target);

}  // namespace bridge
