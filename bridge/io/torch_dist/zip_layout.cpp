// ZipLayout (zip_record.h): the bytes of an archive as torch writes them through miniz, with sizes
// known up front.
//
//   local header   flags 0x0808; CRC and sizes 0; extra fields: zip64 (only when the size or the
//                  header's own offset needs 64 bits), then "FB" padding to the next multiple of 64
//   payload        then a data descriptor: 16 bytes, or 24 where the header has a zip64 field
//   directory      CRC and sizes; the same zip64 field; no padding
//   ends           zip64 end record and locator, always; end record
//
// Truth: mz_zip_writer_add_mem_ex_v2 in miniz.c, caffe2/serialize/inline_container.cc; tests
// compare with archives of torch 2.11, one of them over 4 GiB.
#include "bridge/io/base/checked.h"
#include "bridge/io/base/little_endian.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/torch_dist/zip_format.h"
#include "bridge/io/torch_dist/zip_record.h"

namespace bridge {
namespace {

using namespace zip;  // the constants of the format

constexpr int64_t kAlignment = 64;

bool needs_64(int64_t value) {
  return value >= kEscape32;
}

uint32_t escape(int64_t value) {
  return needs_64(value) ? kEscape32 : static_cast<uint32_t>(value);
}

// The size twice, then the offset, each only if it needs 64 bits. Empty if none does.
std::string zip64_extra(int64_t size, int64_t header_offset) {
  std::string field;
  if (needs_64(size)) {
    append_le(field, static_cast<uint64_t>(size));
    append_le(field, static_cast<uint64_t>(size));
  }
  if (needs_64(header_offset)) append_le(field, static_cast<uint64_t>(header_offset));
  if (field.empty()) return field;
  std::string extra;
  append_le(extra, kExtraZip64);
  append_le(extra, static_cast<uint16_t>(field.size()));
  return extra + field;
}

std::string local_header(const std::string& name, int64_t size, int64_t header_offset) {
  std::string extra = zip64_extra(size, header_offset);
  const int64_t unpadded = header_offset + kLocalSize + std::ssize(name) + std::ssize(extra) + 4;
  const int64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  append_le(extra, kExtraPadding);
  append_le(extra, static_cast<uint16_t>(padding));
  extra.append(static_cast<size_t>(padding), 'Z');

  std::string out;
  append_le(out, kLocalSignature);
  append_le<uint16_t>(out, 0);  // version needed
  append_le<uint16_t>(out, kFlagDescriptor | kFlagUtf8);
  append_le<uint16_t>(out, 0);  // stored
  append_le<uint32_t>(out, 0);  // time and date
  append_le<uint32_t>(out, 0);  // CRC and sizes are in the descriptor
  append_le<uint64_t>(out, 0);
  append_le(out, static_cast<uint16_t>(name.size()));
  append_le(out, static_cast<uint16_t>(extra.size()));
  return out + name + extra;
}

std::string descriptor(int64_t size, int64_t header_offset, uint32_t crc) {
  const bool wide = needs_64(size) || needs_64(header_offset);
  std::string out;
  append_le(out, kDescriptorSignature);
  append_le(out, crc);
  for (int i = 0; i < 2; ++i) {
    if (wide) {
      append_le(out, static_cast<uint64_t>(size));
    } else {
      append_le(out, static_cast<uint32_t>(size));
    }
  }
  return out;
}

std::string central_header(const std::string& name, int64_t size, int64_t header_offset,
                           uint32_t crc) {
  const std::string extra = zip64_extra(size, header_offset);
  std::string out;
  append_le(out, kCentralSignature);
  append_le<uint32_t>(out, 0);  // versions
  append_le<uint16_t>(out, kFlagDescriptor | kFlagUtf8);
  append_le<uint16_t>(out, 0);  // stored
  append_le<uint32_t>(out, 0);  // time and date
  append_le(out, crc);
  append_le(out, escape(size));
  append_le(out, escape(size));
  append_le(out, static_cast<uint16_t>(name.size()));
  append_le(out, static_cast<uint16_t>(extra.size()));
  append_le<uint16_t>(out, 0);  // comment
  append_le<uint64_t>(out, 0);  // disk, attributes
  append_le(out, escape(header_offset));
  return out + name + extra;
}

std::string end_records(int64_t entries, int64_t directory_offset, int64_t directory_size) {
  std::string out;
  append_le(out, kEnd64Signature);
  append_le(out, static_cast<uint64_t>(kEnd64Size - 12));
  append_le<uint16_t>(out, 0x031e);  // made by, needed: as miniz has them
  append_le<uint16_t>(out, 45);
  append_le<uint64_t>(out, 0);  // disks
  append_le(out, static_cast<uint64_t>(entries));
  append_le(out, static_cast<uint64_t>(entries));
  append_le(out, static_cast<uint64_t>(directory_size));
  append_le(out, static_cast<uint64_t>(directory_offset));
  append_le(out, kLocator64Signature);
  append_le<uint32_t>(out, 0);
  append_le(out, static_cast<uint64_t>(directory_offset + directory_size));
  append_le<uint32_t>(out, 1);
  append_le(out, kEndSignature);
  append_le<uint32_t>(out, 0);
  append_le(out, static_cast<uint16_t>(entries));
  append_le(out, static_cast<uint16_t>(entries));
  append_le(out, escape(directory_size));
  append_le(out, escape(directory_offset));
  append_le<uint16_t>(out, 0);  // comment
  return out;
}

}  // namespace

ZipLayout::ZipLayout(std::string prefix) : prefix_(std::move(prefix)) {}

void ZipLayout::add(std::string_view name, std::string content) {
  const int64_t size = std::ssize(content);
  place(name, std::move(content), size, false);
}

void ZipLayout::add_streamed(std::string_view name, int64_t size) {
  if (streamed_) internal_error("a zip layout has at most one streamed entry");
  streamed_ = entries_.size();
  place(name, {}, size, true);
}

void ZipLayout::place(std::string_view name, std::string content, int64_t size, bool streamed) {
  // The last 16-bit number of entries is the escape for zip64.
  if (finished_ || entries_.size() + 1 >= kEscape16) internal_error("entry added to a full layout");
  Entry entry{prefix_ + "/", std::move(content), size, streamed, end_, 0};
  entry.name += name;
  entry.data_offset =
      checked_add(end_, std::ssize(local_header(entry.name, size, end_)), "archive size");
  end_ = checked_add(entry.data_offset, size, "archive size");
  end_ = checked_add(end_, std::ssize(descriptor(size, entry.header_offset, 0)), "archive size");
  entries_.push_back(std::move(entry));
}

void ZipLayout::finish() {
  if (finished_) internal_error("zip layout finished twice");
  finished_ = true;
  total_size_ = checked_add(end_, std::ssize(directory(0)), "archive size");
}

int64_t ZipLayout::total_size() const {
  if (!finished_) internal_error("zip layout is not finished");
  return total_size_;
}

int64_t ZipLayout::streamed_offset() const {
  if (!streamed_) internal_error("zip layout without a streamed entry");
  return entries_[*streamed_].data_offset;
}

std::string ZipLayout::head() const {
  if (!finished_) internal_error("zip layout is not finished");
  std::string out;
  for (const Entry& entry : entries_) {
    out += local_header(entry.name, entry.size, entry.header_offset);
    if (entry.streamed) return out;
    out += entry.content;
    out += descriptor(entry.size, entry.header_offset, crc_of(entry, 0));
  }
  return out + directory(0);
}

std::string ZipLayout::tail(uint32_t streamed_crc) const {
  if (!finished_) internal_error("zip layout is not finished");
  if (!streamed_) return {};
  std::string out;
  for (size_t i = *streamed_; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (!entry.streamed) {
      out += local_header(entry.name, entry.size, entry.header_offset) + entry.content;
    }
    out += descriptor(entry.size, entry.header_offset, crc_of(entry, streamed_crc));
  }
  return out + directory(streamed_crc);
}

uint32_t ZipLayout::crc_of(const Entry& entry, uint32_t streamed_crc) {
  return entry.streamed ? streamed_crc : crc32(std::as_bytes(std::span(entry.content)));
}

std::string ZipLayout::directory(uint32_t streamed_crc) const {
  std::string out;
  for (const Entry& entry : entries_) {
    out += central_header(entry.name, entry.size, entry.header_offset, crc_of(entry, streamed_crc));
  }
  return out + end_records(std::ssize(entries_), end_, std::ssize(out));
}

}  // namespace bridge
