// Reader of stored-only zip archives inside a larger file (zip_record.h). It never reads the
// payload.
//
//   1. The last 22 bytes are the end record, preceded by a zip64 locator and end record if there is
//      one.
//   2. These give the central directory, which must end exactly where they begin.
//   3. Each central entry gives sizes (in the zip64 extra field if a 32-bit field is all ones), CRC
//      and local offset.
//   4. Each local header must agree, and so must the data descriptor, if any, after the payload.
//   5. Entries in order of their offsets must not overlap each other or the directory.
//
// Truth: APPNOTE.TXT, miniz.c (mz_zip_writer_add_mem_ex_v2), caffe2/serialize/inline_container.cc.
#include "bridge/io/torch_dist/zip_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/little_endian.h"
#include "bridge/io/base/utf8.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/torch_dist/zip_format.h"

namespace bridge {
namespace {

using namespace zip;  // the constants of the format

// The place of the archive; offsets in the headers count from its start.
struct Region {
  const File& file;
  int64_t offset;
  int64_t length;

  std::string read(int64_t at, int64_t size) const {
    std::string bytes(static_cast<size_t>(size), '\0');
    file.read_at(offset + at, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }
};

struct Directory {
  int64_t offset;
  int64_t size;
  int64_t entries;
};

struct Central {
  std::string name;
  uint16_t flags;
  uint32_t crc;
  int64_t size;
  int64_t header_offset;
};

int64_t to_size(uint64_t value) {
  return checked_cast<int64_t>(value, "zip size or offset");
}

Directory find_directory(const Region& region) {
  if (region.length < kEndSize) {
    bad_input(fmt::format("{} bytes are too few for a zip archive", region.length));
  }
  const int64_t tail_size = std::min(region.length, kEndSize + kLocator64Size);
  const std::string tail = region.read(region.length - tail_size, tail_size);
  const std::string_view end = std::string_view(tail).substr(tail.size() - kEndSize);
  if (load_le<uint32_t>(end) != kEndSignature || load_le<uint16_t>(end, 20) != 0) {
    bad_input("no zip end record at the end of the archive (truncated, or its length is wrong)");
  }
  if (load_le<uint16_t>(end, 4) != 0 || load_le<uint16_t>(end, 6) != 0 ||
      load_le<uint16_t>(end, 8) != load_le<uint16_t>(end, 10)) {
    bad_input("zip archive of more than one disk");
  }
  const uint16_t entries16 = load_le<uint16_t>(end, 10);
  const uint32_t size32 = load_le<uint32_t>(end, 12);
  const uint32_t offset32 = load_le<uint32_t>(end, 16);
  Directory directory{offset32, size32, entries16};
  int64_t directory_end = region.length - kEndSize;

  const bool has_zip64 = std::ssize(tail) == kEndSize + kLocator64Size &&
                         load_le<uint32_t>(tail) == kLocator64Signature;
  if (has_zip64) {
    directory_end = region.length - tail_size - kEnd64Size;
    if (directory_end < 0 || to_size(load_le<uint64_t>(tail, 8)) != directory_end ||
        load_le<uint32_t>(tail, 4) != 0 || load_le<uint32_t>(tail, 16) > 1) {
      bad_input("zip64 locator does not point to the zip64 end record before it");
    }
    const std::string end64 = region.read(directory_end, kEnd64Size);
    if (load_le<uint32_t>(end64) != kEnd64Signature ||
        load_le<uint64_t>(end64, 4) != kEnd64Size - 12) {
      bad_input("bad zip64 end record");
    }
    if (load_le<uint32_t>(end64, 16) != 0 || load_le<uint32_t>(end64, 20) != 0 ||
        load_le<uint64_t>(end64, 24) != load_le<uint64_t>(end64, 32)) {
      bad_input("zip archive of more than one disk");
    }
    directory = {to_size(load_le<uint64_t>(end64, 48)), to_size(load_le<uint64_t>(end64, 40)),
                 to_size(load_le<uint64_t>(end64, 32))};
    if ((entries16 != kEscape16 && entries16 != directory.entries) ||
        (size32 != kEscape32 && size32 != directory.size) ||
        (offset32 != kEscape32 && offset32 != directory.offset)) {
      bad_input("zip end record and zip64 end record differ");
    }
  }
  if (checked_add(directory.offset, directory.size) != directory_end) {
    bad_input(fmt::format("zip directory of {} bytes at {} does not end at the end record at {}",
                          directory.size, directory.offset, directory_end));
  }
  return directory;
}

// The zip64 field of an extra block, or nullopt. Malformed blocks are refused.
std::optional<std::string_view> zip64_field(std::string_view extra) {
  std::optional<std::string_view> found;
  while (!extra.empty()) {
    if (extra.size() < 4) bad_input("zip extra field is cut short");
    const uint16_t id = load_le<uint16_t>(extra);
    const size_t size = load_le<uint16_t>(extra, 2);
    if (extra.size() - 4 < size) bad_input("zip extra field is cut short");
    if (id == kExtraZip64) {
      if (found) bad_input("zip entry with two zip64 fields");
      found = extra.substr(4, size);
    }
    extra.remove_prefix(4 + size);
  }
  return found;
}

// A number that is escaped in its 32-bit field comes next in the zip64 field.
int64_t unescape(uint32_t value, std::string_view& field) {
  if (value != kEscape32) return value;
  if (field.size() < 8) bad_input("zip64 field lacks an escaped size or offset");
  const int64_t result = to_size(load_le<uint64_t>(field));
  field.remove_prefix(8);
  return result;
}

Central parse_central(std::string_view& rest) {
  if (std::ssize(rest) < kCentralSize || load_le<uint32_t>(rest) != kCentralSignature) {
    bad_input("bad entry in the zip directory");
  }
  const size_t name_size = load_le<uint16_t>(rest, 28);
  const size_t extra_size = load_le<uint16_t>(rest, 30);
  const size_t comment_size = load_le<uint16_t>(rest, 32);
  if (rest.size() - kCentralSize < name_size + extra_size + comment_size) {
    bad_input("bad entry in the zip directory");
  }
  Central entry;
  entry.name = rest.substr(kCentralSize, name_size);
  entry.flags = load_le<uint16_t>(rest, 8);
  entry.crc = load_le<uint32_t>(rest, 16);
  with_context([&] { return "zip entry " + printable(entry.name); },
               [&] {
                 if (entry.flags & ~(kFlagDescriptor | kFlagUtf8)) {
                   bad_input(fmt::format("flags {:#06x} (encrypted or patched)", entry.flags));
                 }
                 const uint16_t method = load_le<uint16_t>(rest, 10);
                 if (method != 0) {
                   unsupported(fmt::format("compressed (method {})", method),
                               "write the checkpoint again with torch.save, which stores");
                 }
                 std::string_view field =
                     zip64_field(rest.substr(kCentralSize + name_size, extra_size)).value_or("");
                 entry.size = unescape(load_le<uint32_t>(rest, 24), field);
                 const int64_t stored = unescape(load_le<uint32_t>(rest, 20), field);
                 entry.header_offset = unescape(load_le<uint32_t>(rest, 42), field);
                 if (stored != entry.size) {
                   bad_input(fmt::format("stored size {} is not its size {}", stored, entry.size));
                 }
                 if (load_le<uint16_t>(rest, 34) != 0) bad_input("lies on another disk");
               });
  rest.remove_prefix(kCentralSize + name_size + extra_size + comment_size);
  return entry;
}

// Checks the local header and the descriptor against the directory. Returns where the payload
// starts; end becomes the end of the entry. Both are relative to the archive.
int64_t check_local(const Region& region, const Central& entry, int64_t directory_offset,
                    int64_t& end) {
  const int64_t name_size = std::ssize(entry.name);
  const auto must_fit = [&](int64_t at) {
    if (at > directory_offset) {
      bad_input(fmt::format("reaches to {}, past the directory at {}", at, directory_offset));
    }
    return at;
  };
  const int64_t fixed_end =
      must_fit(checked_add(entry.header_offset, kLocalSize + name_size, "zip offset"));
  const std::string head = region.read(entry.header_offset, kLocalSize + name_size);
  if (load_le<uint32_t>(head) != kLocalSignature) bad_input("no local header");
  if (load_le<uint16_t>(head, 26) != name_size ||
      std::string_view(head).substr(kLocalSize) != entry.name) {
    bad_input("local header has another name");
  }
  if (load_le<uint16_t>(head, 6) != entry.flags || load_le<uint16_t>(head, 8) != 0) {
    bad_input("local header has other flags or method");
  }
  const int64_t data_offset = must_fit(fixed_end + load_le<uint16_t>(head, 28));
  const std::string extra = region.read(fixed_end, data_offset - fixed_end);
  const std::optional<std::string_view> field64 = zip64_field(extra);

  const bool has_descriptor = entry.flags & kFlagDescriptor;
  const uint32_t crc = load_le<uint32_t>(head, 14);
  const uint32_t stored32 = load_le<uint32_t>(head, 18);
  const uint32_t size32 = load_le<uint32_t>(head, 22);
  std::string_view field = field64.value_or("");
  // With a descriptor the local header may leave all three at 0.
  if (!(has_descriptor && crc == 0 && size32 == 0 && stored32 == 0)) {
    const int64_t size = unescape(size32, field);
    const int64_t stored = unescape(stored32, field);
    if (size != entry.size || stored != entry.size) {
      bad_input(fmt::format("local header says {} bytes, the directory {}", size, entry.size));
    }
    if (crc != entry.crc && !(has_descriptor && crc == 0)) {
      bad_input("local header has another CRC than the directory");
    }
  }
  end = must_fit(checked_add(data_offset, entry.size, "zip size"));
  if (has_descriptor) {
    // The 64-bit form goes with a zip64 field in the local header, whatever that field holds.
    const bool wide = field64.has_value();
    const int64_t size = wide ? kDescriptor64Size : kDescriptorSize;
    must_fit(end + size);
    const std::string tail = region.read(end, size);
    std::string expected;
    append_le(expected, kDescriptorSignature);
    append_le(expected, entry.crc);
    for (int i = 0; i < 2; ++i) {
      if (wide) {
        append_le(expected, static_cast<uint64_t>(entry.size));
      } else {
        append_le(expected, checked_cast<uint32_t>(entry.size, "zip size"));
      }
    }
    if (tail != expected) bad_input("data descriptor does not agree with the directory");
    end += size;
  }
  return data_offset;
}

// Splits off the prefix (all entries must have the same one) and returns the rest of the name.
std::string strip_prefix(const std::string& name, std::string& prefix) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == name.size() || !is_utf8(name)) {
    bad_input(fmt::format("zip entry {}: not PREFIX/NAME", printable(name)));
  }
  if (prefix.empty()) prefix = name.substr(0, slash);
  if (std::string_view(name).substr(0, slash) != prefix) {
    bad_input(
        fmt::format("zip entry {}: prefix differs from {}", printable(name), printable(prefix)));
  }
  return name.substr(slash + 1);
}

}  // namespace

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto it = std::find_if(entries.begin(), entries.end(),
                               [&](const ZipEntry& entry) { return entry.name == name; });
  return it == entries.end() ? nullptr : &*it;
}

ZipArchive read_zip(const File& file, int64_t offset, int64_t length, int64_t max_entries) {
  if (offset < 0 || length < 0 || checked_add(offset, length) > file.size()) {
    bad_input(fmt::format("archive of {} bytes at {} does not lie in a file of {} bytes", length,
                          offset, file.size()));
  }
  const Region region{file, offset, length};
  const Directory directory = find_directory(region);
  constexpr int64_t kDirectoryBytesPerEntry = 1 << 10;  // names and fields of torch: under 100
  const int64_t largest = checked_mul(max_entries, kDirectoryBytesPerEntry);
  if (directory.entries > max_entries || directory.size > largest) {
    bad_input(fmt::format("zip directory of {} entries, {} bytes; at most {} and {} are read",
                          directory.entries, directory.size, max_entries, largest));
  }
  if (directory.entries == 0) bad_input("zip archive without entries");

  struct Extent {
    int64_t begin, end;
  };
  ZipArchive archive;
  std::vector<Extent> extents;
  bool any_bytes = false;
  archive.crc_is_absent = true;
  const std::string bytes = region.read(directory.offset, directory.size);
  std::string_view rest = bytes;
  for (int64_t i = 0; i < directory.entries; ++i) {
    const Central central = parse_central(rest);
    ZipEntry entry{strip_prefix(central.name, archive.prefix), 0, central.size, central.crc};
    int64_t end = 0;
    entry.data_offset =
        with_context([&] { return "zip entry " + printable(central.name); },
                     [&] { return offset + check_local(region, central, directory.offset, end); });
    extents.push_back({central.header_offset, end});
    any_bytes = any_bytes || entry.size > 0;
    if (entry.crc != 0) archive.crc_is_absent = false;
    archive.entries.push_back(std::move(entry));
  }
  if (!rest.empty()) bad_input("zip directory is longer than its entries");
  if (!any_bytes) archive.crc_is_absent = false;

  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin < extents[i - 1].end) bad_input("zip entries overlap");
  }
  std::vector<std::string_view> names;
  for (const ZipEntry& entry : archive.entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) bad_input(fmt::format("two zip entries {}", printable(*twice)));
  return archive;
}

std::string read_zip_entry(const File& file, const ZipArchive& archive, const ZipEntry& entry,
                           int64_t at_most) {
  if (entry.size > at_most) {
    bad_input(fmt::format("zip entry {}: {} bytes, at most {} are read", printable(entry.name),
                          entry.size, at_most));
  }
  std::string content(static_cast<size_t>(entry.size), '\0');
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(content));
  file.read_at(entry.data_offset, bytes);
  const uint32_t crc = archive.crc_is_absent ? entry.crc : crc32(bytes);
  if (crc != entry.crc) {
    bad_input(fmt::format("zip entry {}: CRC {:08x}, recorded {:08x}", printable(entry.name), crc,
                          entry.crc));
  }
  return content;
}

}  // namespace bridge
