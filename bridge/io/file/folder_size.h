// What a folder takes on disk.
#pragma once

#include <cstdint>

#include "bridge/io/file/file_system.h"

namespace bridge {

struct FolderSize {
  int64_t files = 0;
  int64_t bytes = 0;
};

// Every regular file below path; symlinks are neither followed nor counted. Errors: kIo.
FolderSize size_of_folder(FileSystem& fs, const Path& path);

}  // namespace bridge
