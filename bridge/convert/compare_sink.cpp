#include "bridge/convert/compare_sink.h"

#include <algorithm>
#include <cstring>

namespace bridge {

void CompareSink::write(const Transfer& transfer, size_t /*index*/, int64_t begin,
                        std::span<const std::byte> data, uint32_t /*crc*/) {
  thread_local std::vector<std::byte> buffer;  // as large as a slice; allocated once a thread
  buffer.resize(std::max(buffer.size(), data.size()));
  const std::span<std::byte> other(buffer.data(), data.size());
  other_.read(static_cast<size_t>(other_index_[static_cast<size_t>(transfer.target)]),
              bytes_of(transfer.to, begin), other);
  if (std::memcmp(other.data(), data.data(), data.size()) == 0) return;

  const auto size = static_cast<size_t>(std::max(1, bits_of(transfer.to) / 8));
  Difference found;
  for (size_t at = 0; at < data.size(); at += size) {
    if (std::memcmp(other.data() + at, data.data() + at, size) == 0) continue;
    if (found.elements++ == 0) found.first = begin + static_cast<int64_t>(at / size);
  }
  const std::lock_guard lock(mutex_);
  Difference& total = differences_[transfer.target];
  total.first = total.elements == 0 ? found.first : std::min(total.first, found.first);
  total.elements += found.elements;
}

}  // namespace bridge
