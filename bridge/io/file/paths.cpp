#include "bridge/io/file/paths.h"

#include <algorithm>

namespace bridge {

bool lies_in_by_name(const Path& path, const Path& folder) {
  const auto plain = [](const Path& p) {
    const Path normal = std::filesystem::absolute(p).lexically_normal();
    return normal.has_filename() ? normal : normal.parent_path();
  };
  const Path inner = plain(path);
  const Path outer = plain(folder);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace bridge
