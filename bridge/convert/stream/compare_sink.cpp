#include "bridge/convert/stream/compare_sink.h"

#include <algorithm>
#include <cstring>

namespace bridge {

void CompareSink::write(const Transfer& transfer, size_t /*index*/, int64_t begin,
                        std::span<const std::byte> data, uint32_t /*crc*/) {
  // Sub-byte elements are compared two at a time.
  const int64_t size = std::max(1, bits_of(transfer.to) / 8);
  compare(transfer.target, bytes_of(transfer.to, begin), size, data);
}

void CompareSink::write_scales(const Transfer& transfer, size_t /*index*/, int64_t begin,
                               std::span<const std::byte> data) {
  const int64_t size = transfer.requantize->source.scale_bytes();
  compare(transfer.requantize->scale_target, begin * size, size, data);
}

void CompareSink::compare(int32_t target, int64_t begin, int64_t size,
                          std::span<const std::byte> data) {
  thread_local std::vector<std::byte> buffer;  // as large as a slice; allocated once per thread
  buffer.resize(std::max(buffer.size(), data.size()));
  const std::span<std::byte> theirs(buffer.data(), data.size());
  other_.read(static_cast<size_t>(other_index_[static_cast<size_t>(target)]), begin, theirs);
  if (std::memcmp(data.data(), theirs.data(), data.size()) == 0) return;
  Difference found;
  for (int64_t at = 0; at < std::ssize(data); at += size) {
    if (std::memcmp(data.data() + at, theirs.data() + at, static_cast<size_t>(size)) == 0) continue;
    if (found.elements++ == 0) found.first = (begin + at) / size;
  }
  const std::lock_guard lock(mutex_);
  Difference& total = differences_[target];
  total.first = total.elements == 0 ? found.first : std::min(total.first, found.first);
  total.elements += found.elements;
}

}  // namespace bridge
