// Combines the CRC-32 of every output from the pieces that several threads write, and the CRC-32 of
// all outputs between two watermarks. A resumed run compares the files with the latter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "bridge/io/file/crc32.h"
#include "bridge/io/file/range_crc.h"

namespace bridge {

class WrittenCrcs {
 public:
  // Adds a piece of output `number`, which has `size` bytes. Returns the CRC of the output if this
  // piece completes it.
  std::optional<uint32_t> add(size_t number, int64_t size, const RangeCrc::Part& piece) {
    const std::lock_guard lock(mutex_);
    if (piece.length == size) return complete({number, size, piece.crc});
    RangeCrc& range = open_.try_emplace(number, size).first->second;
    range.add(piece.offset, piece.length, piece.crc);
    if (!range.complete()) return std::nullopt;
    const uint32_t crc = range.value();
    open_.erase(number);
    return complete({number, size, crc});
  }

  // Returns the CRC of all outputs completed since the last call, in order of their numbers.
  uint32_t take() {
    const std::lock_guard lock(mutex_);
    std::sort(done_.begin(), done_.end(),
              [](const Done& a, const Done& b) { return a.number < b.number; });
    uint32_t crc = 0;
    for (const Done& output : done_) crc = crc32_combine(crc, output.crc, output.size);
    done_.clear();
    return crc;
  }

 private:
  struct Done {
    size_t number;
    int64_t size;
    uint32_t crc;
  };

  uint32_t complete(const Done& output) {
    done_.push_back(output);
    return output.crc;
  }

  std::mutex mutex_;
  std::map<size_t, RangeCrc> open_;
  std::vector<Done> done_;
};

}  // namespace bridge
