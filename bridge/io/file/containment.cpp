#include "bridge/io/file/containment.h"

namespace bridge {

bool same_file(const Stat& a, const Stat& b) {
  return a.inode == b.inode && a.device == b.device;
}

bool lies_in(FileSystem& fs, Path real, const Stat& folder) {
  while (true) {
    const std::optional<Stat> there = fs.stat(real);
    if (there && same_file(*there, folder)) return true;
    if (!real.has_relative_path()) return false;
    real = real.parent_path();
  }
}

Path parent_of(const Path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

}  // namespace bridge
