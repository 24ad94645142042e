// Stored-only zip(64) archives as torch.save writes them: a reader with every check that torch
// leaves out, and the layout of an archive whose sizes are known before it is written. Truth:
// caffe2/serialize/inline_container.cc, miniz; byte dump in docs/formats.md.
//
// Hand-written because no library does it safely: Causeway needs offsets before data (parallel
// pwrite), archives inside a larger file (a .distcp is many archives back to back), verified CRCs
// (torch never verifies them), and no inflate code at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

struct ZipEntry {
  std::string name;     // without the archive prefix ("data/0", "data.pkl")
  int64_t data_offset;  // absolute in the file
  int64_t size;
  uint32_t crc;
};

struct ZipArchive {
  std::string prefix;  // "archive"
  std::vector<ZipEntry> entries;
  // True if every stored CRC is 0: written with torch's CRC option off; nothing can be checked.
  bool crc_is_absent = false;

  const ZipEntry* find(std::string_view name) const;
};

// Reads the archive that occupies [offset, offset + length) of the file. Checks that the end record
// and central directory lie inside and end exactly at the end; that entries are stored, not
// encrypted, and on one disk; that each local header agrees with the central one (name, flags,
// sizes, CRC or data descriptor); that entries do not overlap; and that there is one prefix and no
// duplicate name. At most 1,000 entries and 1 MiB of directory (torch items have under ten; an
// archive of a whole state dict may have more: max_entries). Errors: kBadInput; compressed entries:
// kUnsupported.
ZipArchive read_zip(const File& file, int64_t offset, int64_t length, int64_t max_entries = 1000);

// Reads one entry whole and verifies its CRC (unless crc_is_absent). An entry larger than at_most
// is bad input.
std::string read_zip_entry(const File& file, const ZipArchive& archive, const ZipEntry& entry,
                           int64_t at_most);

// An archive to be written, in torch's own style: entries in the order added; payloads 64-byte
// aligned relative to the archive's start (extra field "FB"); flags 0x0808; a data descriptor after
// each payload; zip64 end record, locator and end record at the end. The caller writes the payload
// of one entry, the streamed one; its CRC is needed only for bytes after the payload.
class ZipLayout {
 public:
  explicit ZipLayout(std::string prefix);
  void add(std::string_view name, std::string content);
  void add_streamed(std::string_view name, int64_t size);  // at most one
  void finish();                                           // no add after this

  int64_t total_size() const;       // valid after finish(), as are the rest
  int64_t streamed_offset() const;  // of the payload, relative to the archive's start
  // The bytes before the streamed payload (the whole archive if nothing is streamed) and after it.
  std::string head() const;
  std::string tail(uint32_t streamed_crc) const;

 private:
  struct Entry {
    std::string name;
    std::string content;
    int64_t size;
    bool streamed;
    int64_t header_offset;
    int64_t data_offset;
  };
  void place(std::string_view name, std::string content, int64_t size, bool streamed);
  static uint32_t crc_of(const Entry& entry, uint32_t streamed_crc);
  std::string directory(uint32_t streamed_crc) const;  // and the end records

  std::string prefix_;
  std::vector<Entry> entries_;
  std::optional<size_t> streamed_;  // index into entries_
  int64_t end_ = 0;                 // of the last entry
  int64_t total_size_ = 0;
  bool finished_ = false;
};

}  // namespace bridge
