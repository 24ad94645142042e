// Files of blocks, in which a torn or damaged end is seen: the journal (journal.h) and what rank 0
// tells the other ranks (launch.h).
//
//   1. 8 bytes that name the kind of file
//   2. blocks: kind (4 letters), length of the payload (u64), CRC-32 of kind, length and payload
//      (u32), payload
// Numbers are little-endian; a text is its length (u32) and its bytes; a list is its length (u64)
// and its elements. The reader trusts nothing.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/io/base/little_endian.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

constexpr int64_t kLargestBlock = 128 << 20;

void append_number(std::string& out, int64_t value);
void append_text(std::string& out, std::string_view text);
std::string make_block(std::string_view kind, std::string_view payload);

// The payload of a block, read in order. Reports kBadInput for one that contradicts itself.
class Payload {
 public:
  explicit Payload(std::string_view bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  T number() {
    return load_le<T>(take(sizeof(T)));
  }
  int64_t size();
  std::string text();
  // A count of things of which each takes at least `least` bytes.
  size_t count(uint64_t most, size_t least);
  void finish() const;

  [[noreturn]] static void contradiction();

 private:
  std::string_view take(size_t length);

  std::string_view bytes_;
};

struct Block {
  std::string kind;
  std::string payload;
  // Of the block in the file.
  int64_t size() const;
};

// Returns the block at `offset`; nullopt where none is whole there. memory grows by the payload
// before it is read.
std::optional<Block> read_block(const File& file, int64_t offset, Reservation& memory);

}  // namespace bridge
