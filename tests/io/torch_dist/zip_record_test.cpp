// Zip archives: those of torch and Python are read, ours are byte for byte torch's, and every lie
// in a header is refused.
#include "bridge/io/torch_dist/zip_record.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <functional>

#include "bridge/io/base/error.h"
#include "tests/io/file/memory_file.h"

namespace bridge {
namespace {

uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

std::string content(const File& file, const ZipArchive& archive, std::string_view name) {
  const ZipEntry* entry = archive.find(name);
  return entry ? read_zip_entry(file, archive, *entry, 1000) : "(absent)";
}

TEST(ReadZip, ArchiveOfTorch) {
  const MemoryFile file(read_data("torch_items/bfloat16_8.pt"));
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(archive.prefix, "archive");
  EXPECT_EQ(archive.entries.size(), 7u);
  EXPECT_FALSE(archive.crc_is_absent);
  EXPECT_EQ(content(file, archive, ".format_version"), "1");
  EXPECT_EQ(content(file, archive, "byteorder"), "little");
  EXPECT_EQ(content(file, archive, "version"), "3\n");
  EXPECT_EQ(content(file, archive, "data/0"), unhex("0000803f004040408040a040c040e040"));
  EXPECT_EQ(archive.find("data/0")->data_offset % 64, 0);
  EXPECT_EQ(archive.find("data"), nullptr);
}

TEST(ReadZip, ArchiveInsideALargerFile) {
  const std::string torch = read_data("torch_items/bfloat16_8.pt");
  const MemoryFile file("some bytes before" + torch + "and after");
  const ZipArchive archive = read_zip(file, 17, std::ssize(torch));
  EXPECT_EQ(content(file, archive, "version"), "3\n");
  EXPECT_EQ(archive.find("data/0")->data_offset % 64, 17);
}

TEST(ReadZip, ArchiveOfPython) {
  const MemoryFile file(read_data("torch_items/zipfile.pt"));
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(content(file, archive, "data/0"), unhex("0000803f004040408040a040c040e040"));
}

TEST(ReadZip, ArchiveWithoutCrcs) {
  const MemoryFile file(read_data("torch_items/without_crc.pt"));
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_TRUE(archive.crc_is_absent);
  EXPECT_EQ(content(file, archive, "data/0"), unhex("0000010002000300"));
}

// The layout of the archive that torch writes, with torch's own pickle.
ZipLayout like_torch(const std::string& pickle, int64_t size) {
  ZipLayout layout("archive");
  layout.add("data.pkl", pickle);
  layout.add(".format_version", "1");
  layout.add(".storage_alignment", "64");
  layout.add("byteorder", "little");
  layout.add_streamed("data/0", size);
  layout.add("version", "3\n");
  return layout;
}

TEST(ZipLayout, IsByteForByteTorchs) {
  const std::string torch = read_data("torch_items/bfloat16_8.pt");
  const MemoryFile file(torch);
  const ZipArchive archive = read_zip(file, 0, file.size());
  ZipLayout layout = like_torch(content(file, archive, "data.pkl"), 16);
  layout.add(".data/serialization_id", content(file, archive, ".data/serialization_id"));
  layout.finish();
  const std::string payload = unhex("0000803f004040408040a040c040e040");
  EXPECT_EQ(layout.streamed_offset(), std::ssize(layout.head()));
  const std::string ours = layout.head() + payload + layout.tail(crc_of(payload));
  EXPECT_EQ(ours.size(), static_cast<size_t>(layout.total_size()));
  EXPECT_EQ(ours, torch);
}

// Recorded from torch.save(torch.zeros(2**32 + 4096, dtype=torch.uint8)) of torch 2.11: what lies
// around the payload, by CRC-32, and the parts that differ from a small archive in full.
TEST(ZipLayout, IsTorchsBeyond4GiB) {
  const std::string pickle = unhex(
      "800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a7100282858070000007374"
      "6f"
      "72616765710163746f7263680a4279746553746f726167650a71025801000000307103580300000063707571048a"
      "05"
      "0010000001747105514b008a0500100000018571064b018571078963636f6c6c656374696f6e730a4f7264657265"
      "64"
      "446963740a71082952710974710a52710b2e");
  ZipLayout layout = like_torch(pickle, (int64_t{1} << 32) + 4096);
  layout.add(".data/serialization_id", "1572819951185464343602607281012271500847531");
  layout.finish();
  const std::string head = layout.head();
  EXPECT_EQ(layout.streamed_offset(), 704);
  EXPECT_EQ(head.substr(598, 64),
            unhex("504b0304000008080000000000000000000000000000000000000e003e00") +
                "archive/data/0" + unhex("0100100000100000010000000010000001000000"));
  const std::string tail = layout.tail(0xb875d37f);
  EXPECT_EQ(tail.substr(0, 24), unhex("504b07087fd375b800100000010000000010000001000000"));
  EXPECT_EQ(tail.substr(24, 61),
            unhex("504b0304000008080000000000000000000000000000000000000f003b00") +
                "archive/version" + unhex("01000800d812000001000000") + unhex("46422b00"));
  EXPECT_EQ(tail.substr(130, 24), unhex("504b0708d19e675502000000000000000200000000000000"));
  const size_t central = tail.find("PK\1\2");
  ASSERT_NE(central, std::string::npos);
  const size_t data0 = tail.find("archive/data/0", central) - 46;
  EXPECT_EQ(tail.substr(data0, 80),
            unhex("504b01020000000008080000000000007fd375b8ffffffffffffffff0e001400000000000000"
                  "0000000056020000") +
                "archive/data/0" + unhex("0100100000100000010000000010000001000000"));
  const size_t version = tail.find("archive/version", central) - 46;
  EXPECT_EQ(
      tail.substr(version, 73),
      unhex("504b0102000000000808000000000000d19e675502000000020000000f000c0000000000000000000000"
            "ffffffff") +
          "archive/version" + unhex("01000800d812000001000000"));
  EXPECT_EQ(tail.substr(tail.size() - 22, 20), unhex("504b05060000000007000700fb010000ffffffff"));

  MemoryFile file(head);
  file.put(layout.streamed_offset() + (int64_t{1} << 32) + 4096, tail);
  EXPECT_EQ(file.size(), layout.total_size());
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(archive.find("data/0")->size, (int64_t{1} << 32) + 4096);
  EXPECT_EQ(content(file, archive, "version"), "3\n");
  EXPECT_LT(file.bytes_read(), 4096);  // the payload is never read
}

TEST(ZipLayout, WithoutStreamedEntry) {
  ZipLayout layout("common");
  layout.add("data.pkl", "abc");
  layout.finish();
  const MemoryFile file(layout.head());
  EXPECT_EQ(layout.tail(0), "");
  EXPECT_EQ(file.size(), layout.total_size());
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(archive.prefix, "common");
  EXPECT_EQ(content(file, archive, "data.pkl"), "abc");
}

TEST(ReadZipEntry, ChecksCrcAndSize) {
  std::string bytes = read_data("torch_items/bfloat16_8.pt");
  const ZipArchive archive = read_zip(MemoryFile(bytes), 0, std::ssize(bytes));
  const ZipEntry& entry = *archive.find("data/0");
  bytes[static_cast<size_t>(entry.data_offset) + 3] ^= 1;
  const MemoryFile file(bytes);
  try {
    read_zip_entry(file, archive, entry, 100);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_NE(e.message().find("data/0: CRC"), std::string::npos) << e.message();
  }
  EXPECT_THROW(read_zip_entry(file, archive, entry, 15), Error);
}

// A plain archive written by hand: sizes and CRC in the local header, no descriptors, no zip64.
struct Spec {
  std::string name;
  std::string content;
};

std::string le(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  return out;
}

std::string plain_archive(const std::vector<Spec>& specs) {
  std::string out, directory;
  for (const Spec& spec : specs) {
    const std::string sizes = le(crc_of(spec.content), 4) + le(spec.content.size(), 4) +
                              le(spec.content.size(), 4) + le(spec.name.size(), 2) + le(0, 2);
    directory += "PK\1\2" + le(20, 2) + le(10, 2) + le(0, 2) + le(0, 2) + le(0, 4) + sizes +
                 le(0, 2) + le(0, 2) + le(0, 2) + le(0, 4) + le(out.size(), 4) + spec.name;
    out += "PK\3\4" + le(10, 2) + le(0, 2) + le(0, 2) + le(0, 4) + sizes + spec.name + spec.content;
  }
  const size_t at = out.size();
  return out + directory + "PK\5\6" + le(0, 4) + le(specs.size(), 2) + le(specs.size(), 2) +
         le(directory.size(), 4) + le(at, 4) + le(0, 2);
}

// Offsets in the archive {"a/x": "hello", "a/yy": "world!"}.
constexpr size_t kLocal1 = 0, kLocal2 = 38, kCentral1 = 78, kCentral2 = 127, kEnd = 177;
std::string good() {
  return plain_archive({{"a/x", "hello"}, {"a/yy", "world!"}});
}

void set(std::string& bytes, size_t at, std::string_view value) {
  bytes.replace(at, value.size(), value);
}

struct BadZip {
  const char* name;
  std::function<std::string()> make;
  Code code;
  const char* message;
};

void PrintTo(const BadZip& bad, std::ostream* out) {
  *out << bad.name;
}

std::string changed(size_t at, std::string_view value) {
  std::string bytes = good();
  set(bytes, at, value);
  return bytes;
}

std::string torch_changed(size_t from_end, std::string_view value) {
  std::string bytes = read_data("torch_items/bfloat16_8.pt");
  set(bytes, bytes.size() - from_end, value);
  return bytes;
}

const BadZip kBadZips[] = {
    {"empty", [] { return std::string(); }, Code::kBadInput, "0 bytes are too few"},
    {"too_short", [] { return std::string(21, 'x'); }, Code::kBadInput, "21 bytes are too few"},
    {"no_end_record", [] { return std::string(100, 'x'); }, Code::kBadInput, "no zip end record"},
    {"junk_after", [] { return good() + "x"; }, Code::kBadInput, "no zip end record"},
    {"junk_before", [] { return "x" + good(); }, Code::kBadInput, "does not end at the end record"},
    {"comment", [] { return changed(kEnd + 20, le(3, 2)) + "abc"; }, Code::kBadInput,
     "no zip end record"},
    {"second_disk", [] { return changed(kEnd + 4, le(1, 2)); }, Code::kBadInput, "disk"},
    {"entries_on_disk", [] { return changed(kEnd + 8, le(1, 2)); }, Code::kBadInput, "disk"},
    {"fewer_entries", [] { return changed(kEnd + 8, le(1, 2) + le(1, 2)); }, Code::kBadInput,
     "longer than its entries"},
    {"more_entries", [] { return changed(kEnd + 8, le(3, 2) + le(3, 2)); }, Code::kBadInput,
     "bad entry in the zip directory"},
    {"no_entries", [] { return "PK\5\6" + std::string(18, '\0'); }, Code::kBadInput,
     "without entries"},
    {"too_many_entries", [] { return changed(kEnd + 8, le(1001, 2) + le(1001, 2)); },
     Code::kBadInput, "1001 entries"},
    {"directory_offset", [] { return changed(kEnd + 16, le(77, 4)); }, Code::kBadInput,
     "directory of 99 bytes at 77"},
    {"directory_outside", [] { return changed(kEnd + 16, le(0xfffffffe, 4)); }, Code::kBadInput,
     "at 4294967294"},
    {"escape_without_zip64", [] { return changed(kEnd + 16, le(0xffffffff, 4)); }, Code::kBadInput,
     "does not end at the end record"},
    {"central_signature", [] { return changed(kCentral1, "PK\1\3"); }, Code::kBadInput,
     "bad entry in the zip directory"},
    {"encrypted", [] { return changed(kCentral1 + 8, le(1, 2)); }, Code::kBadInput,
     "zip entry a/x: flags 0x0001"},
    {"masked_headers", [] { return changed(kCentral1 + 8, le(0x2000, 2)); }, Code::kBadInput,
     "flags 0x2000"},
    {"deflated", [] { return changed(kCentral1 + 10, le(8, 2)); }, Code::kUnsupported,
     "zip entry a/x: compressed (method 8)"},
    {"crc_differs", [] { return changed(kCentral1 + 16, le(5, 4)); }, Code::kBadInput,
     "another CRC"},
    {"stored_size", [] { return changed(kCentral1 + 20, le(4, 4)); }, Code::kBadInput,
     "stored size 4 is not its size 5"},
    {"size_differs", [] { return changed(kCentral1 + 20, le(4, 4) + le(4, 4)); }, Code::kBadInput,
     "local header says 5 bytes, the directory 4"},
    {"size_escape_without_field",
     [] { return changed(kCentral1 + 20, le(0xffffffff, 4) + le(0xffffffff, 4)); }, Code::kBadInput,
     "lacks an escaped size"},
    {"name_too_long", [] { return changed(kCentral2 + 28, le(50, 2)); }, Code::kBadInput,
     "bad entry in the zip directory"},
    {"other_disk", [] { return changed(kCentral2 + 34, le(1, 2)); }, Code::kBadInput,
     "another disk"},
    {"local_offset_wrong", [] { return changed(kCentral2 + 42, le(37, 4)); }, Code::kBadInput,
     "zip entry a/yy: no local header"},
    {"local_offset_far", [] { return changed(kCentral2 + 42, le(0xfffffffe, 4)); }, Code::kBadInput,
     "past the directory at 78"},
    {"local_offset_twice", [] { return changed(kCentral2 + 42, le(0, 4)); }, Code::kBadInput,
     "another name"},
    {"central_name", [] { return changed(kCentral1 + 46, "a/z"); }, Code::kBadInput,
     "zip entry a/z: local header has another name"},
    {"local_signature", [] { return changed(kLocal1, "PK\3\5"); }, Code::kBadInput,
     "no local header"},
    {"local_flags", [] { return changed(kLocal1 + 6, le(8, 2)); }, Code::kBadInput, "other flags"},
    {"local_method", [] { return changed(kLocal1 + 8, le(8, 2)); }, Code::kBadInput,
     "other flags or method"},
    {"local_crc", [] { return changed(kLocal1 + 14, le(0, 4)); }, Code::kBadInput, "another CRC"},
    {"local_size", [] { return changed(kLocal1 + 22, le(6, 4)); }, Code::kBadInput,
     "local header says 6 bytes"},
    {"local_extra_malformed", [] { return changed(kLocal1 + 28, le(2, 2)); }, Code::kBadInput,
     "extra field is cut short"},
    {"local_extra_past_directory", [] { return changed(kLocal2 + 28, le(60000, 2)); },
     Code::kBadInput, "past the directory"},
    {"no_prefix",
     [] {
       return plain_archive({{"data.pkl", "x"}});
     },
     Code::kBadInput, "zip entry data.pkl: not PREFIX/NAME"},
    {"empty_prefix",
     [] {
       return plain_archive({{"/etc/passwd", "x"}});
     },
     Code::kBadInput, "not PREFIX/NAME"},
    {"folder_entry",
     [] {
       return plain_archive({{"a/", ""}});
     },
     Code::kBadInput, "not PREFIX/NAME"},
    {"name_not_utf8",
     [] {
       return plain_archive({{"a/\xff\x1b", "x"}});
     },
     Code::kBadInput, "zip entry a/\\xff\\x1b: not PREFIX/NAME"},
    {"two_prefixes",
     [] {
       return plain_archive({{"a/x", "x"}, {"b/x", "y"}});
     },
     Code::kBadInput, "zip entry b/x: prefix differs from a"},
    {"duplicate_name",
     [] {
       return plain_archive({{"a/x", "x"}, {"a/x", "y"}});
     },
     Code::kBadInput, "two zip entries x"},
    {"overlap",
     [] {  // the second entry lies in the content of the first
       const std::string inner = plain_archive({{"a/y", ""}}).substr(0, 33);
       std::string bytes = plain_archive({{"a/x", inner}, {"a/y", ""}});
       const size_t second = bytes.rfind("a/y") - 46;
       set(bytes, second + 42, le(33, 4));
       return bytes;
     },
     Code::kBadInput, "zip entries overlap"},
    {"descriptor_crc",
     [] {
       std::string bytes = read_data("torch_items/bfloat16_8.pt");
       set(bytes, bytes.find("PK\7\x8") + 4, "zzzz");
       return bytes;
     },
     Code::kBadInput, "data descriptor does not agree"},
    {"descriptor_signature",
     [] {
       std::string bytes = read_data("torch_items/bfloat16_8.pt");
       set(bytes, bytes.find("PK\7\x8"), "zzzz");
       return bytes;
     },
     Code::kBadInput, "zip entry archive/data.pkl: data descriptor does not agree"},
    {"zip64_locator_offset", [] { return torch_changed(42 - 8, le(5, 8)); }, Code::kBadInput,
     "zip64 locator does not point"},
    {"zip64_locator_huge", [] { return torch_changed(42 - 8, le(~uint64_t{0}, 8)); },
     Code::kBadInput, "out of range"},
    {"zip64_locator_disks", [] { return torch_changed(42 - 16, le(2, 4)); }, Code::kBadInput,
     "zip64 locator does not point"},
    {"zip64_signature", [] { return torch_changed(98, "PK\6\5"); }, Code::kBadInput,
     "bad zip64 end record"},
    {"zip64_entries", [] { return torch_changed(98 - 24, le(6, 8) + le(6, 8)); }, Code::kBadInput,
     "zip end record and zip64 end record differ"},
    {"zip64_directory_size", [] { return torch_changed(98 - 40, le(~uint64_t{0} >> 1, 8)); },
     Code::kBadInput, "differ"},
};

class BadZipTest : public testing::TestWithParam<BadZip> {};

TEST_P(BadZipTest, IsRefused) {
  const MemoryFile file(GetParam().make());
  try {
    read_zip(file, 0, file.size());
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), GetParam().code);
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
  }
}

INSTANTIATE_TEST_SUITE_P(All, BadZipTest, testing::ValuesIn(kBadZips),
                         [](const auto& test) { return test.param.name; });

TEST(ReadZip, HandmadeArchiveIsGood) {
  const MemoryFile file(good());
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(content(file, archive, "x"), "hello");
  EXPECT_EQ(content(file, archive, "yy"), "world!");
}

TEST(ReadZip, RegionOutsideTheFile) {
  const MemoryFile file(good());
  for (const auto& [offset, length] : {std::pair<int64_t, int64_t>{0, file.size() + 1},
                                       {-1, 50},
                                       {5, INT64_MAX},
                                       {INT64_MAX, 1},
                                       {0, -1}}) {
    EXPECT_THROW(read_zip(file, offset, length), Error);
  }
}

TEST(ReadZip, EveryTruncationIsRefused) {
  for (const char* name : {"torch_items/bfloat16_8.pt", "torch_items/zipfile.pt"}) {
    const std::string bytes = read_data(name);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const MemoryFile file(bytes.substr(0, size));
      EXPECT_THROW(read_zip(file, 0, file.size()), Error) << size;
    }
  }
}

// Any single flipped bit either is refused or changes nothing that is read (padding, versions,
// times).
TEST(ReadZip, EveryBitFlip) {
  const std::string bytes = read_data("torch_items/bfloat16_8.pt");
  const MemoryFile original(bytes);
  const ZipArchive expected = read_zip(original, 0, original.size());
  int64_t accepted = 0;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string changed_bytes = bytes;
    changed_bytes[bit / 8] = static_cast<char>(changed_bytes[bit / 8] ^ 1 << bit % 8);
    const MemoryFile file(changed_bytes);
    try {
      const ZipArchive archive = read_zip(file, 0, file.size());
      for (const ZipEntry& entry : expected.entries) {
        const ZipEntry* found = archive.find(entry.name);
        ASSERT_NE(found, nullptr) << bit;
        EXPECT_EQ(read_zip_entry(file, archive, *found, 1000),
                  read_zip_entry(original, expected, entry, 1000));
      }
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_LT(accepted, std::ssize(bytes) * 8 / 2);  // 410 bytes of padding, and times and versions
}

// An entry over 4 GiB in the form of writers that know the CRC first (no descriptor, 64-bit sizes
// in the extra field of both headers), by hand.
TEST(ReadZip, LargeEntryWithoutDescriptor) {
  const uint64_t size = (uint64_t{5} << 30) + 1;
  const std::string name = "archive/data/0";
  const std::string extra = le(1, 2) + le(16, 2) + le(size, 8) + le(size, 8);
  const std::string common = le(45, 2) + le(0, 2) + le(0, 2) + le(0, 4) + le(0x12345678, 4) +
                             le(0xffffffff, 4) + le(0xffffffff, 4) + le(name.size(), 2) +
                             le(extra.size(), 2);
  const std::string local = "PK\3\4" + common + name + extra;
  const std::string central = "PK\1\2" + le(45, 2) + common + le(0, 2) + le(0, 2) + le(0, 2) +
                              le(0, 4) + le(0, 4) + name + extra;
  const uint64_t at = local.size() + size;
  MemoryFile file(local);
  file.put(static_cast<int64_t>(at),
           central + "PK\6\6" + le(44, 8) + le(45, 2) + le(45, 2) + le(0, 8) + le(1, 8) + le(1, 8) +
               le(central.size(), 8) + le(at, 8) + "PK\6\7" + le(0, 4) +
               le(at + central.size(), 8) + le(1, 4) + "PK\5\6" + le(0, 4) + le(1, 2) + le(1, 2) +
               le(central.size(), 4) + le(0xffffffff, 4) + le(0, 2));
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(archive.find("data/0")->size, static_cast<int64_t>(size));
  EXPECT_EQ(archive.find("data/0")->data_offset, std::ssize(local));
  EXPECT_EQ(archive.find("data/0")->crc, 0x12345678u);
  EXPECT_LT(file.bytes_read(), 1000);
}

}  // namespace
}  // namespace bridge
