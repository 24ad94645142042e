// The CRC of a byte range, assembled from parts that arrive in any order from any thread.
//
//   1. Parts are kept sorted by offset.
//   2. Neighbours that touch are merged at once (crc32_combine), so an ordered reader keeps one
//      part.
//   3. One part that spans the range is the answer.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace bridge {

// Not synchronised: threads that share one hold a lock.
class RangeCrc {
 public:
  struct Part {
    int64_t offset;
    int64_t length;
    uint32_t crc;
  };

  explicit RangeCrc(int64_t size) : size_(size) {}
  // Ignores a part that is already covered; a part that overlaps others partly is a bug of the
  // caller.
  void add(int64_t offset, int64_t length, uint32_t crc);
  // Whether a part lies in the range and overlaps no other.
  bool fits(const Part& part) const;
  bool covers(int64_t offset, int64_t length) const;
  // The first gap (offset, length) inside [offset, offset + length), cut to it, for a reader that
  // wants to fill it.
  std::optional<std::pair<int64_t, int64_t>> first_gap(int64_t offset, int64_t length) const;
  bool complete() const;
  uint32_t value() const;  // only if the range is complete
  // The parts so far: sorted and disjoint, none empty, none touching the next.
  const std::vector<Part>& parts() const { return parts_; }

 private:
  int64_t size_;
  std::vector<Part> parts_;
};

// A part of one of many ranges, and the CRC of a whole one.
struct NumberedPart {
  int64_t number;
  RangeCrc::Part part;
};
struct NumberedCrc {
  int64_t number;
  uint32_t crc;
};

}  // namespace bridge
