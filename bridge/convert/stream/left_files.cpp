#include "bridge/convert/stream/left_files.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"

namespace bridge {

void check_left_file(FileSystem& fs, const Path& path, int64_t size) {
  const std::optional<Stat> there = fs.lstat(path);
  if (!there || there->kind != Kind::kRegular || there->size != size) {
    bad_input(printable(path.native()) + ": not as the earlier run left it");
  }
}

void remove_all_but(FileSystem& fs, const Path& folder,
                    const std::function<bool(const std::string& name)>& keeps) {
  const std::optional<Stat> there = fs.lstat(folder);
  if (!there || there->kind != Kind::kDirectory) {
    bad_input(printable(folder.native()) + ": not as the earlier run left it");
  }
  for (const std::string& name : fs.list(folder)) {
    if (!keeps(name)) remove_tree(fs, folder / name);
  }
}

uint32_t crc_of_range(const File& file, int64_t offset, int64_t size, uint32_t seed) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(kPiece, size)));
  for (int64_t done = 0; done < size;) {
    const auto length = std::min(kPiece, size - done);
    const auto piece = std::span(buffer).first(static_cast<size_t>(length));
    file.read_at(offset + done, piece);
    seed = crc32(piece, seed);
    done += length;
  }
  return seed;
}

}  // namespace bridge
