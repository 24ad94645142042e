#include "bridge/io/file/crc32.h"

#include <libdeflate.h>
#include <zlib.h>

namespace bridge {

uint32_t crc32(std::span<const std::byte> data, uint32_t seed) {
  // libdeflate takes a null buffer, which an empty span may have, for a request of the first value.
  return data.empty() ? seed : libdeflate_crc32(seed, data.data(), data.size());
}

uint32_t crc32_combine(uint32_t a, uint32_t b, int64_t length_of_b) {
  return static_cast<uint32_t>(::crc32_combine64(a, b, length_of_b));
}

}  // namespace bridge
