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

  // A part that touches its neighbours grows them in place: there may be thousands of parts, which
  // an insertion moves.
  const bool touches_next = next != parts_.end() && next->offset == offset + length;
  if (next != parts_.begin() && (next - 1)->offset + (next - 1)->length == offset) {
    const auto last = next - 1;
    last->crc = crc32_combine(last->crc, crc, length);
    last->length += length;
    if (!touches_next) return;
    last->crc = crc32_combine(last->crc, next->crc, next->length);
    last->length += next->length;
    parts_.erase(next);
  } else if (touches_next) {
    *next = {offset, length + next->length, crc32_combine(crc, next->crc, next->length)};
  } else {
    parts_.insert(next, Part{offset, length, crc});
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

std::optional<std::pair<int64_t, int64_t>> RangeCrc::first_gap(int64_t offset,
                                                               int64_t length) const {
  const int64_t end = offset + length;
  auto after = std::upper_bound(parts_.begin(), parts_.end(), offset,
                                [](int64_t at, const Part& part) { return at < part.offset; });
  if (after != parts_.begin()) {
    offset = std::max(offset, (after - 1)->offset + (after - 1)->length);
  }
  if (offset >= end) return std::nullopt;
  // Parts do not touch, so the next one begins after `offset`.
  const int64_t gap_end = after == parts_.end() ? end : std::min(end, after->offset);
  return std::make_pair(offset, gap_end - offset);
}

bool RangeCrc::complete() const {
  return covers(0, size_);
}

uint32_t RangeCrc::value() const {
  if (!complete()) internal_error("CRC of a range that is not complete");
  return size_ == 0 ? 0 : parts_.front().crc;
}

}  // namespace bridge
