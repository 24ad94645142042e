// See range_crc.h.
#include "bridge/io/file/range_crc.h"

#include <algorithm>

#include "bridge/io/base/checked.h"
#include "bridge/io/file/crc32.h"

namespace bridge {

void RangeCrc::add(int64_t offset, int64_t length, uint32_t crc) {
  if (offset < 0 || length < 0 || checked_add(offset, length) > size_) {
    internal_error("CRC part outside its range");
  }
  if (length == 0 || covers(offset, length)) return;
  auto next = std::lower_bound(parts_.begin(), parts_.end(), offset,
                               [](const Part& part, int64_t at) { return part.offset < at; });
  const bool overlaps_next = next != parts_.end() && next->offset < offset + length;
  const bool overlaps_last =
      next != parts_.begin() && (next - 1)->offset + (next - 1)->length > offset;
  if (overlaps_next || overlaps_last) internal_error("CRC parts overlap");

  auto here = parts_.insert(next, Part{offset, length, crc});
  const auto merge_with_next = [&](auto left) {
    const auto right = left + 1;
    left->crc = crc32_combine(left->crc, right->crc, right->length);
    left->length += right->length;
    parts_.erase(right);
  };
  if (here + 1 != parts_.end() && here->offset + here->length == (here + 1)->offset) {
    merge_with_next(here);
  }
  if (here != parts_.begin() && (here - 1)->offset + (here - 1)->length == here->offset) {
    merge_with_next(here - 1);
  }
}

bool RangeCrc::fits(const Part& part) const {
  if (part.offset < 0 || part.length <= 0 || part.offset > size_ ||
      part.length > size_ - part.offset) {
    return false;
  }
  return std::none_of(parts_.begin(), parts_.end(), [&](const Part& other) {
    return part.offset < other.offset + other.length && other.offset < part.offset + part.length;
  });
}

bool RangeCrc::covers(int64_t offset, int64_t length) const {
  if (length == 0) return true;
  const auto after =
      std::upper_bound(parts_.begin(), parts_.end(), offset,
                       [](int64_t at, const Part& part) { return at < part.offset; });
  if (after == parts_.begin()) return false;
  const Part& part = *(after - 1);
  return offset + length <= part.offset + part.length;
}

bool RangeCrc::complete() const {
  return covers(0, size_);
}

uint32_t RangeCrc::value() const {
  if (!complete()) internal_error("CRC of a range that is not complete");
  return size_ == 0 ? 0 : parts_.front().crc;
}

std::vector<std::pair<int64_t, int64_t>> RangeCrc::missing() const {
  std::vector<std::pair<int64_t, int64_t>> gaps;
  int64_t end = 0;
  for (const Part& part : parts_) {
    if (part.offset > end) gaps.emplace_back(end, part.offset - end);
    end = part.offset + part.length;
  }
  if (end < size_) gaps.emplace_back(end, size_ - end);
  return gaps;
}

}  // namespace bridge
