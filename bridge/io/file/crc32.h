// CRC-32 (ISO 3309, as in zip) of a buffer, and of a concatenation from the CRCs of its parts:
// threads compute the CRCs of slices, which are combined into the CRC of the item. libdeflate
// computes (it is 2-3 times as fast as Debian's zlib), zlib combines (libdeflate cannot).
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bridge {

uint32_t crc32(std::span<const std::byte> data, uint32_t seed = 0);

// CRC of A followed by B, from the CRC of A, the CRC of B and the byte length of B.
uint32_t crc32_combine(uint32_t a, uint32_t b, int64_t length_of_b);

}  // namespace bridge
