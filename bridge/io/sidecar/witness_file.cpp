#include "bridge/io/sidecar/witness_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>

#include "bridge/io/base/checked.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/file_crc.h"

namespace bridge {
namespace {

constexpr std::string_view kMagic = "CSWYWIT1";
constexpr int64_t kHeaderBytes = 24;
constexpr size_t kBufferBytes = 64 << 10;

template <typename T>
void put(std::byte*& at, T value) {
  std::memcpy(at, &value, sizeof value);
  at += sizeof value;
}

template <typename T>
T get(const std::byte*& at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  at += sizeof value;
  return value;
}

}  // namespace

WitnessWriter::WitnessWriter(FileSystem& fs, const Path& path) : file_(fs.create(path)) {
  buffer_.reserve(kBufferBytes);
  append_bytes(std::as_bytes(std::span(kMagic)));
}

WitnessWriter::WitnessWriter(FileSystem& fs, const Path& path, const Mark& mark)
    : file_(fs.open_write(path)), size_(mark.size), crc_(mark.crc) {
  if (mark.size < std::ssize(kMagic) || file_->size() < mark.size ||
      crc_of_file(*file_, mark.size) != mark.crc) {
    bad_input(printable(path.native()) + ": not the bytes that were written");
  }
  file_->allocate(mark.size);
  buffer_.reserve(kBufferBytes);
}

void WitnessWriter::append_bytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kBufferBytes - buffer_.size()));
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    size_ += static_cast<int64_t>(part.size());
    if (buffer_.size() == kBufferBytes) flush();
    bytes = bytes.subspan(part.size());
  }
}

void WitnessWriter::flush() {
  file_->write_at(size_ - static_cast<int64_t>(buffer_.size()), buffer_);
  crc_ = crc32(buffer_, crc_);
  buffer_.clear();
}

void WitnessWriter::append(const Piece& piece) {
  std::array<std::byte, kHeaderBytes> header{};
  std::byte* at = header.data();
  put(at, static_cast<int64_t>(piece.tensor));
  put(at, piece.begin);
  put(at, static_cast<int64_t>(piece.bytes.size()));
  append_bytes(header);
  append_bytes(piece.bytes);
}

void WitnessWriter::append_file(FileSystem& fs, const Path& path, const Mark& mark) {
  const auto damaged = [&] {
    bad_input(printable(path.native()) + ": not the bytes that were written");
  };
  // Our own file, so it is opened as an output is: never through a symlink.
  const std::unique_ptr<File> file = fs.open_write(path);
  const auto begin = std::ssize(kMagic);
  if (mark.size < begin || file->size() < mark.size) damaged();
  std::vector<std::byte> piece(kBufferBytes);
  uint32_t crc = 0;
  for (int64_t done = 0; done < mark.size;) {
    const auto length = std::min(std::ssize(piece), mark.size - done);
    const auto bytes = std::span(piece).first(static_cast<size_t>(length));
    file->read_at(done, bytes);
    crc = crc32(bytes, crc);
    append_bytes(bytes.subspan(static_cast<size_t>(std::max<int64_t>(0, begin - done))));
    done += length;
  }
  if (crc != mark.crc) damaged();
}

void WitnessWriter::write(size_t ticket, std::span<const Piece> pieces) {
  std::unique_lock lock(mutex_);
  turn_.wait(lock, [&] { return next_ticket_ == ticket || aborted_; });
  if (aborted_) return;
  for (const Piece& piece : pieces) append(piece);
  ++next_ticket_;
  turn_.notify_all();
}

void WitnessWriter::abort() {
  const std::lock_guard lock(mutex_);
  aborted_ = true;
  turn_.notify_all();
}

WitnessWriter::Mark WitnessWriter::mark() {
  flush();
  return {size_, crc_};
}

uint32_t WitnessWriter::finish() {
  flush();
  sync();
  return crc_;
}

WitnessIndex::WitnessIndex(FileSystem& fs, const Path& path,
                           const std::vector<int64_t>& tensor_bytes, uint32_t crc,
                           MemoryBudget& budget)
    : file_(fs.open_read(path)) {
  const auto size = static_cast<int64_t>(kMagic.size());
  std::array<std::byte, kMagic.size()> magic{};
  if (file_->size() < size) bad_input("not a witness file");
  file_->read_at(0, magic);
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    bad_input("not a witness file");
  }
  if (crc_of_file(*file_) != crc) bad_input("CRC-32 mismatch, the sidecar is damaged");
  for (int64_t offset = size; offset < file_->size();) {
    std::array<std::byte, kHeaderBytes> header{};
    if (file_->size() - offset < kHeaderBytes) bad_input("the last witness record is cut off");
    file_->read_at(offset, header);
    const std::byte* at = header.data();
    WitnessRecord record{};
    const auto tensor = get<int64_t>(at);
    record.begin = get<int64_t>(at);
    record.length = get<int64_t>(at);
    record.offset = offset + kHeaderBytes;
    const int64_t bytes = tensor >= 0 && tensor < std::ssize(tensor_bytes)
                              ? tensor_bytes[static_cast<size_t>(tensor)]
                              : 0;
    if (record.begin < 0 || record.length <= 0 || record.begin > bytes ||
        record.length > bytes - record.begin || record.length > file_->size() - record.offset) {
      bad_input(fmt::format("witness record at byte {} does not fit its tensor", offset));
    }
    record.tensor = static_cast<int32_t>(tensor);
    if (records_.size() == records_.capacity()) {
      const size_t more = std::max<size_t>(64, records_.capacity());
      budget.reserve(static_cast<int64_t>(more * sizeof(WitnessRecord)), "witness records");
      records_.reserve(records_.capacity() + more);
    }
    records_.push_back(record);
    offset = record.offset + record.length;
  }
  std::sort(records_.begin(), records_.end(), [](const auto& a, const auto& b) {
    return std::pair(a.tensor, a.begin) < std::pair(b.tensor, b.begin);
  });
  for (size_t i = 1; i < records_.size(); ++i) {
    const WitnessRecord& before = records_[i - 1];
    if (before.tensor == records_[i].tensor && before.begin + before.length > records_[i].begin) {
      bad_input("witness records overlap");
    }
  }
}

std::span<const WitnessRecord> WitnessIndex::find(int32_t tensor, int64_t begin,
                                                  int64_t end) const {
  const auto first = std::partition_point(records_.begin(), records_.end(), [&](const auto& r) {
    return r.tensor < tensor || (r.tensor == tensor && r.begin + r.length <= begin);
  });
  const auto last = std::partition_point(
      first, records_.end(), [&](const auto& r) { return r.tensor == tensor && r.begin < end; });
  return {first, last};
}

bool WitnessIndex::covers(int32_t tensor, int64_t size) const {
  int64_t covered = 0;
  for (const WitnessRecord& record : find(tensor, 0, size)) covered += record.length;
  return covered == size;
}

bool WitnessIndex::any(int32_t tensor) const {
  return !find(tensor, 0, std::numeric_limits<int64_t>::max()).empty();
}

void WitnessIndex::read(const WitnessRecord& record, int64_t from, std::span<std::byte> out) const {
  file_->read_at(record.offset + from, out);
}

}  // namespace bridge
