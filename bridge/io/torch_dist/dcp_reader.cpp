#include "bridge/io/torch_dist/dcp_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/file_pool.h"
#include "bridge/io/file/range_crc.h"
#include "bridge/io/torch_dist/dcp_geometry.h"
#include "bridge/io/torch_dist/torch_item.h"

namespace bridge {
namespace {

constexpr int64_t kPiece = 1 << 20;    // bytes of scratch
constexpr size_t kMostOpenFiles = 64;  // a checkpoint of many ranks has thousands
// Items share locks: a lock for each would take more memory than the item.
constexpr size_t kLocks = 64;

// What is known about the item of one chunk, once it has been touched.
struct Item {
  int64_t data_offset = 0;    // offset of the first element in the file
  int64_t record_offset = 0;  // offset in the file of the bytes that the CRC covers
  int64_t record_size = 0;
  uint32_t record_crc = 0;
  bool is_open = false;
  // Of an item without CRC:
  bool is_counted = false;
  bool is_taken = false;               // by take_without_crc()
  std::unique_ptr<RangeCrc> progress;  // null: not touched, verified, or nothing to verify
};

}  // namespace

struct DcpReader::Impl {
  Impl(FileSystem& fs_in, const Path& dir_in, const DcpMetadata& metadata_in);

  void read(size_t index, int64_t begin, std::span<std::byte> out);
  void finish();
  std::vector<NumberedPart> open_parts() const;
  std::vector<int64_t> take_without_crc();
  void restore(const std::vector<NumberedPart>& parts, const std::vector<int64_t>& without_crc);

  // One chunk of one tensor and its item.
  struct Place {
    const DcpTensor& tensor;
    const DcpChunk& chunk;
    Item& item;
    std::mutex& lock;
  };
  Place place(size_t tensor, size_t chunk);
  template <typename Fn>
  void with_place(const Place& at, Fn&& fn) {
    with_context(
        [&] {
          return fmt::format("{}: {}", printable((dir / file_name(at.chunk)).native()),
                             printable(at.tensor.key));
        },
        fn);
  }
  const std::string& file_name(const DcpChunk& chunk) const {
    return metadata.files.at(static_cast<size_t>(chunk.file));
  }

  void open_item(const Place& at, const File& file);
  void read_chunk(const Place& at, int64_t first, int64_t last, int64_t begin,
                  std::span<std::byte> out);
  void account(const Place& at, int64_t record_at, std::span<const std::byte> bytes);
  void complete(const Place& at);

  const Path dir;
  const DcpMetadata& metadata;
  // By tensor. The items of a tensor are in the order of its chunks.
  std::vector<size_t> first_item;
  std::vector<int64_t> longest_span;  // by tensor: the longest of its chunks, in elements
  std::vector<Item> items;
  std::array<std::mutex, kLocks> locks;
  std::atomic<int64_t> items_without_crc{0};

  FilePool files;
};

DcpReader::Impl::Impl(FileSystem& fs_in, const Path& dir_in, const DcpMetadata& metadata_in)
    : dir(dir_in),
      metadata(metadata_in),
      files(metadata.files.size(), std::min(kMostOpenFiles, pool_size()), FilePool::Use::kRead,
            [this, &fs_in](size_t index) { return fs_in.open_read(dir / metadata.files[index]); }) {
  first_item.reserve(metadata.tensors.size());
  longest_span.reserve(metadata.tensors.size());
  size_t count = 0;
  for (const DcpTensor& tensor : metadata.tensors) {
    first_item.push_back(count);
    count += tensor.chunks.size();
    int64_t longest = 0;
    for (const DcpChunk& chunk : tensor.chunks) {
      longest = std::max(longest, element_span(tensor.shape, chunk));
    }
    longest_span.push_back(longest);
  }
  items = std::vector<Item>(count);
}

DcpReader::Impl::Place DcpReader::Impl::place(size_t tensor, size_t chunk) {
  const size_t item = first_item[tensor] + chunk;
  return {metadata.tensors[tensor], metadata.tensors[tensor].chunks[chunk], items[item],
          locks[item % kLocks]};
}

void DcpReader::Impl::open_item(const Place& at, const File& file) {
  const std::lock_guard guard(at.lock);
  if (at.item.is_open) return;
  const TensorItem found = read_tensor_item(file, at.chunk.offset, at.chunk.length);
  if (found.dtype != at.tensor.dtype) {
    bad_input(fmt::format("the item holds {}, .metadata says {}", torch_name(found.dtype),
                          torch_name(at.tensor.dtype)));
  }
  if (found.shape != at.chunk.sizes) {
    bad_input(fmt::format("the item holds {}, .metadata says {}", shape_text(found.shape),
                          shape_text(at.chunk.sizes)));
  }
  at.item.data_offset = found.data_offset;
  at.item.record_offset = found.record_offset;
  at.item.record_size = found.record_size;
  at.item.record_crc = found.record_crc;
  if (found.has_crc) {
    at.item.progress = std::make_unique<RangeCrc>(found.record_size);
  } else if (!at.item.is_counted) {
    at.item.is_counted = true;
    ++items_without_crc;
  }
  at.item.is_open = true;
}

// Adds bytes that were just read, at record_at in the storage record, to the CRC of the item.
void DcpReader::Impl::account(const Place& at, int64_t record_at,
                              std::span<const std::byte> bytes) {
  const auto length = static_cast<int64_t>(bytes.size());
  while (true) {
    std::optional<std::pair<int64_t, int64_t>> gap;
    {
      const std::lock_guard guard(at.lock);
      if (!at.item.progress) return;
      gap = at.item.progress->first_gap(record_at, length);
    }
    if (!gap) return complete(at);
    const auto [offset, size] = *gap;
    const uint32_t crc =
        crc32(bytes.subspan(static_cast<size_t>(offset - record_at), static_cast<size_t>(size)));
    const std::lock_guard guard(at.lock);
    // Another thread may have read a part of it meanwhile; then the next round reads the rest.
    if (at.item.progress && at.item.progress->first_gap(offset, size) == gap) {
      at.item.progress->add(offset, size, crc);
    }
  }
}

void DcpReader::Impl::complete(const Place& at) {
  const std::lock_guard guard(at.lock);
  if (!at.item.progress || !at.item.progress->complete()) return;
  const uint32_t crc = at.item.progress->value();
  if (crc != at.item.record_crc) {  // progress stays, so that every later reader fails as well
    bad_input(fmt::format("CRC-32 mismatch (stored {:08x}, computed {:08x}), the data is damaged",
                          at.item.record_crc, crc));
  }
  at.item.progress.reset();
}

// Reads elements [first, last) of the chunk into out, which starts at byte `begin` of the tensor.
void DcpReader::Impl::read_chunk(const Place& at, int64_t first, int64_t last, int64_t begin,
                                 std::span<std::byte> out) {
  const int64_t element = bits_of(at.tensor.dtype) / 8;
  const std::shared_ptr<File> file = files.get(static_cast<size_t>(at.chunk.file));
  open_item(at, *file);
  const int64_t data_at = at.item.data_offset;
  const int64_t record_at = data_at - at.item.record_offset;
  const auto place_in_out = [&](int64_t from, int64_t count) {
    const int64_t to = element_index(at.tensor.shape, at.chunk, from) * element - begin;
    return out.subspan(static_cast<size_t>(to), static_cast<size_t>(count * element));
  };
  const int64_t run = run_length(at.tensor.shape, at.chunk);
  if (first / run == (last - 1) / run) {
    const std::span<std::byte> target = place_in_out(first, last - first);
    file->read_at(data_at + first * element, target);
    account(at, record_at + first * element, target);
    return;
  }
  const int64_t piece = std::min(kPiece, (last - first) * element) / element;
  const auto scratch =
      std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(piece * element));
  for (int64_t next = first; next < last;) {
    const int64_t count = std::min(piece, last - next);
    const std::span<std::byte> bytes(scratch.get(), static_cast<size_t>(count * element));
    file->read_at(data_at + next * element, bytes);
    account(at, record_at + next * element, bytes);
    for (int64_t done = 0; done < count;) {
      const int64_t from = next + done;
      const int64_t row = std::min(count - done, run - from % run);
      const std::span<std::byte> target = place_in_out(from, row);
      std::memcpy(target.data(), bytes.data() + done * element, target.size());
      done += row;
    }
    next += count;
  }
}

void DcpReader::Impl::read(size_t index, int64_t begin, std::span<std::byte> out) {
  const DcpTensor& tensor = metadata.tensors.at(index);
  const int64_t element = bits_of(tensor.dtype) / 8;
  const auto size = static_cast<int64_t>(out.size());
  if (begin < 0 || begin % element != 0 || size % element != 0 ||
      size > byte_size(tensor.dtype, tensor.shape) - begin) {
    internal_error(fmt::format("read of {} bytes at {} of {}", size, begin, printable(tensor.key)));
  }
  if (size == 0) return;
  const int64_t from = begin / element;
  const int64_t to = from + size / element;
  // Chunks are sorted by their first element, and none is longer than longest_span.
  const auto candidate =
      std::partition_point(tensor.chunks.begin(), tensor.chunks.end(), [&](const DcpChunk& chunk) {
        return first_element(tensor.shape, chunk) + longest_span[index] <= from;
      });
  for (auto chunk = candidate; chunk != tensor.chunks.end(); ++chunk) {
    if (first_element(tensor.shape, *chunk) >= to) break;
    const int64_t first = elements_before(tensor.shape, *chunk, from);
    const int64_t last = elements_before(tensor.shape, *chunk, to);
    if (first == last) continue;
    const Place at = place(index, static_cast<size_t>(chunk - tensor.chunks.begin()));
    with_place(at, [&] { read_chunk(at, first, last, begin, out); });
  }
}

std::vector<NumberedPart> DcpReader::Impl::open_parts() const {
  std::vector<NumberedPart> open;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].progress) continue;
    for (const RangeCrc::Part& part : items[i].progress->parts()) {
      open.push_back({static_cast<int64_t>(i), part});
    }
  }
  return open;
}

std::vector<int64_t> DcpReader::Impl::take_without_crc() {
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_counted || items[i].is_taken) continue;
    items[i].is_taken = true;
    numbers.push_back(static_cast<int64_t>(i));
  }
  return numbers;
}

void DcpReader::Impl::restore(const std::vector<NumberedPart>& parts,
                              const std::vector<int64_t>& without_crc) {
  for (const NumberedPart& numbered : parts) {
    const int64_t number = numbered.number;
    const RangeCrc::Part& part = numbered.part;
    if (number < 0 || number >= std::ssize(items)) bad_input("an item that is not there");
    const auto after =
        std::upper_bound(first_item.begin(), first_item.end(), static_cast<size_t>(number)) - 1;
    const auto tensor = static_cast<size_t>(after - first_item.begin());
    const Place at = place(tensor, static_cast<size_t>(number) - *after);
    with_place(at, [&] {
      open_item(at, *files.get(static_cast<size_t>(at.chunk.file)));
      if (!at.item.progress || !at.item.progress->fits(part)) {
        bad_input("a part that does not fit its item");
      }
      at.item.progress->add(part.offset, part.length, part.crc);
    });
  }
  for (const int64_t number : without_crc) {
    if (number < 0 || number >= std::ssize(items)) bad_input("an item that is not there");
    Item& item = items[static_cast<size_t>(number)];
    if (!item.is_counted) ++items_without_crc;
    item.is_counted = item.is_taken = true;
  }
}

void DcpReader::Impl::finish() {
  std::vector<std::byte> scratch;
  for (size_t tensor = 0; tensor < metadata.tensors.size(); ++tensor) {
    for (size_t chunk = 0; chunk < metadata.tensors[tensor].chunks.size(); ++chunk) {
      const Place at = place(tensor, chunk);
      const auto next_gap = [&]() -> std::optional<std::pair<int64_t, int64_t>> {
        const std::lock_guard guard(at.lock);
        if (!at.item.progress) return std::nullopt;
        return at.item.progress->first_gap(0, at.item.record_size);
      };
      with_place(at, [&] {
        while (const auto gap = next_gap()) {
          scratch.resize(static_cast<size_t>(kPiece));
          const auto bytes =
              std::span(scratch).first(static_cast<size_t>(std::min(kPiece, gap->second)));
          files.get(static_cast<size_t>(at.chunk.file))
              ->read_at(at.item.record_offset + gap->first, bytes);
          account(at, gap->first, bytes);
        }
        complete(at);
      });
    }
  }
}

DcpReader::DcpReader(FileSystem& fs, const Path& dist_dir, const DcpMetadata& metadata)
    : impl_(std::make_unique<Impl>(fs, dist_dir, metadata)) {}

DcpReader::~DcpReader() = default;

void DcpReader::read(size_t index, int64_t begin, std::span<std::byte> out) {
  impl_->read(index, begin, out);
}

std::vector<NumberedPart> DcpReader::open_parts() const {
  return impl_->open_parts();
}

std::vector<int64_t> DcpReader::take_without_crc() {
  return impl_->take_without_crc();
}

void DcpReader::restore(const std::vector<NumberedPart>& parts,
                        const std::vector<int64_t>& without_crc) {
  impl_->restore(parts, without_crc);
}

void DcpReader::finish() {
  impl_->finish();
}

int64_t DcpReader::items_without_crc() const {
  return impl_->items_without_crc;
}

}  // namespace bridge
