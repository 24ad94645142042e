// Tests the witness file: its bytes follow the format, which this test writes by hand, and every
// record is found again, even if records are larger than the writer's buffer.
#include "bridge/io/sidecar/witness_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

std::string read_file(const Path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string number(int64_t value) {
  std::string text;
  for (int i = 0; i < 8; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

TEST(WitnessFile, HoldsItsRecords) {
  const TempDir dir;
  std::mt19937 random(3);
  WitnessWriter writer(real_file_system(), dir / "witnesses.bin");
  std::string expected = "CSWYWIT1";
  std::vector<std::string> payloads;
  for (const size_t size : {1, 3, 65'000, 600, 65'536, 200'000, 7, 131'072}) {
    std::string payload(size, '\0');
    for (char& c : payload) c = static_cast<char>(random());
    const auto tensor = static_cast<int32_t>(payloads.size());
    writer.append({tensor, 5, std::as_bytes(std::span(payload))});
    expected += number(tensor) + number(5) + number(std::ssize(payload)) + payload;
    payloads.push_back(std::move(payload));
    EXPECT_EQ(writer.size(), std::ssize(expected));
  }
  const uint32_t crc = writer.finish();
  const std::string bytes = read_file(dir / "witnesses.bin");
  ASSERT_TRUE(bytes == expected) << bytes.size() << " bytes, expected " << expected.size();
  EXPECT_EQ(crc, ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()),
                         static_cast<uInt>(bytes.size())));

  MemoryBudget budget(1 << 20);
  const std::vector<int64_t> sizes(payloads.size(), 300'000);
  const WitnessIndex index(real_file_system(), dir / "witnesses.bin", sizes, crc, budget);
  for (size_t i = 0; i < payloads.size(); ++i) {
    const auto found = index.find(static_cast<int32_t>(i), 0, 300'000);
    ASSERT_EQ(found.size(), 1U);
    std::string payload(static_cast<size_t>(found[0].length), '\0');
    index.read(found[0], 0, std::as_writable_bytes(std::span(payload)));
    EXPECT_TRUE(payload == payloads[i]) << i;
  }
}

// What two processes wrote becomes the file that one would have written.
TEST(WitnessFile, TakesUpTheRecordsOfAnotherFile) {
  const TempDir dir;
  FileSystem& fs = real_file_system();
  const std::string payload(70'000, 'w');
  const auto append = [&](WitnessWriter& writer, int32_t tensor) {
    writer.append({tensor, 0, std::as_bytes(std::span(payload))});
  };
  WitnessWriter whole(fs, dir / "whole");
  WitnessWriter first(fs, dir / "first");
  WitnessWriter second(fs, dir / "second");
  for (const int32_t tensor : {1, 2, 3}) {
    append(whole, tensor);
    append(tensor == 1 ? first : second, tensor);
  }
  const uint32_t expected = whole.finish();
  const WitnessWriter::Mark mark = second.mark();
  append(second, 9);  // behind the mark
  second.finish();
  first.append_file(fs, dir / "second", mark);
  EXPECT_EQ(first.finish(), expected);
  EXPECT_EQ(first.size(), whole.size());
  EXPECT_TRUE(read_file(dir / "first") == read_file(dir / "whole"));
  EXPECT_THROW(first.append_file(fs, dir / "second", {mark.size, mark.crc ^ 1}), Error);
  EXPECT_THROW(first.append_file(fs, dir / "second", {mark.size * 2, mark.crc}), Error);
}

// The second half is written by another writer, over what the first one wrote after the mark.
TEST(WitnessFile, AnotherWriterGoesOn) {
  const TempDir dir;
  const std::string payload(70'000, 'w');
  const auto append = [&](WitnessWriter& writer, int32_t tensor) {
    writer.append({tensor, 0, std::as_bytes(std::span(payload))});
  };
  WitnessWriter whole(real_file_system(), dir / "whole");
  append(whole, 0);
  append(whole, 1);
  const uint32_t crc = whole.finish();

  WitnessWriter::Mark mark;
  {
    WitnessWriter first(real_file_system(), dir / "resumed");
    append(first, 0);
    mark = first.mark();
    append(first, 7);
    append(first, 8);
    first.finish();
  }
  WitnessWriter second(real_file_system(), dir / "resumed", mark);
  append(second, 1);
  EXPECT_EQ(second.finish(), crc);
  EXPECT_EQ(second.size(), whole.size());
  EXPECT_TRUE(read_file(dir / "resumed") == read_file(dir / "whole"));

  for (const WitnessWriter::Mark& wrong :
       {WitnessWriter::Mark{mark.size, mark.crc ^ 1}, WitnessWriter::Mark{mark.size - 1, mark.crc},
        WitnessWriter::Mark{1 << 20, mark.crc}, WitnessWriter::Mark{0, 0}}) {
    try {
      WitnessWriter(real_file_system(), dir / "resumed", wrong);
      ADD_FAILURE() << wrong.size;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kBadInput) << e.message();
    }
  }
  EXPECT_TRUE(read_file(dir / "resumed") == read_file(dir / "whole"));
}

}  // namespace
}  // namespace bridge
