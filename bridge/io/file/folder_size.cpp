#include "bridge/io/file/folder_size.h"

namespace bridge {

FolderSize size_of_folder(FileSystem& fs, const Path& path) {
  FolderSize total;
  for (const std::string& name : fs.list(path)) {
    const std::optional<Stat> stat = fs.lstat(path / name);
    if (!stat) continue;
    if (stat->kind == Kind::kDirectory) {
      const FolderSize inner = size_of_folder(fs, path / name);
      total.files += inner.files;
      total.bytes += inner.bytes;
    } else if (stat->kind == Kind::kRegular) {
      ++total.files;
      total.bytes += stat->size;
    }
  }
  return total;
}

}  // namespace bridge
