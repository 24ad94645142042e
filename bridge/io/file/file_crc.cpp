#include "bridge/io/file/file_crc.h"

#include <algorithm>
#include <vector>

#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

// Reads the first `size` bytes in order, passes each piece to fn, and returns the CRC.
template <typename Fn>
uint32_t for_each_piece(const File& file, int64_t size, Fn&& fn) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(kPiece, size)));
  uint32_t crc = 0;
  for (int64_t offset = 0; offset < size;) {
    const auto length = static_cast<size_t>(std::min(kPiece, size - offset));
    const std::span<std::byte> piece(buffer.data(), length);
    file.read_at(offset, piece);
    crc = crc32(piece, crc);
    fn(offset, piece);
    offset += static_cast<int64_t>(length);
  }
  return crc;
}

}  // namespace

uint32_t crc_of_file(const File& file) {
  return crc_of_file(file, file.size());
}

uint32_t crc_of_file(const File& file, int64_t size) {
  return for_each_piece(file, size, [](int64_t, std::span<const std::byte>) {});
}

uint32_t copy_file(FileSystem& fs, const Path& from, const Path& to) {
  const auto source = fs.open_read(from);
  const auto target = fs.create(to);
  const uint32_t crc = for_each_piece(
      *source, source->size(),
      [&](int64_t offset, std::span<const std::byte> piece) { target->write_at(offset, piece); });
  target->sync();
  return crc;
}

}  // namespace bridge
