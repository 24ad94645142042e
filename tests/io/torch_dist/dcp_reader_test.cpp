// Tests the reader on synthetic checkpoints: every byte is read once and verified, and damage of
// any kind is detected.
#include "bridge/io/torch_dist/dcp_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "bridge/io/base/error.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "tests/io/file/fault_file_system.h"
#include "tests/io/torch_dist/dcp_builder.h"

namespace bridge {
namespace {

constexpr int64_t kMiB = 1 << 20;

MegatronFolder open(const Path& path) {
  // Nodes of the common state stay charged to the budget.
  static MemoryBudget budget(int64_t{1} << 40);
  return open_megatron(real_file_system(), path, "", budget);
}

std::span<std::byte> writable(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

std::string read_whole(DcpReader& reader, const DcpMetadata& metadata, size_t index) {
  const DcpTensor& tensor = metadata.tensors.at(index);
  std::string bytes(static_cast<size_t>(byte_size(tensor.dtype, tensor.shape)), '?');
  reader.read(index, 0, writable(bytes));
  return bytes;
}

class DcpReaderTest : public testing::Test {
 protected:
  static std::string counting(size_t size) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
    return bytes;
  }

  void open_folder() {
    builder_.write(dir_.path());
    folder_ = open(dir_.path());
    reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
  }

  std::string read(size_t index, int64_t begin, size_t size) {
    std::string bytes(size, '?');
    reader_->read(index, begin, writable(bytes));
    return bytes;
  }

  // Changes one byte of the data file in place.
  void poke(size_t at, char byte) {
    std::fstream file(dir_ / "__0_0.distcp", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at)).put(byte);
    ASSERT_TRUE(file.flush());
  }

  void expect_bad(const std::function<void()>& fn, Code code, const std::string& message) {
    try {
      fn();
      ADD_FAILURE() << "no error; expected " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_NE(e.message().find(message), std::string::npos) << e.what();
    }
  }

  int64_t reads_logged() const {
    const std::vector<std::string> log = fs_.log();
    return std::count_if(log.begin(), log.end(),
                         [](const std::string& entry) { return entry.starts_with("read "); });
  }

  TempDir dir_;
  FaultFileSystem fs_{real_file_system(), dir_.path()};
  FolderBuilder builder_;
  MegatronFolder folder_;
  std::unique_ptr<DcpReader> reader_;
};

TEST_F(DcpReaderTest, ScalarsDtypesAndEmptyTensors) {
  builder_.add("a", Dtype::kF32, {}, {{{}, {}}}, "\x01\x02\x03\x04");
  builder_.add("b", Dtype::kF8E4M3, {3}, {{{0}, {1}}, {{1}, {2}}}, "xyz");
  builder_.add("c", Dtype::kI64, {2}, {{{0}, {2}}}, counting(16));
  builder_.add("d", Dtype::kF32, {0, 4}, {}, "");
  open_folder();
  EXPECT_EQ(read(0, 0, 4), "\x01\x02\x03\x04");
  EXPECT_EQ(read(1, 0, 3), "xyz");
  EXPECT_EQ(read(1, 1, 1), "y");
  EXPECT_EQ(read(2, 0, 16), counting(16));
  EXPECT_EQ(read(3, 0, 0), "");
  EXPECT_EQ(read(2, 8, 0), "");
  reader_->finish();
}

TEST_F(DcpReaderTest, RangesOutsideAreBugs) {
  builder_.add("a", Dtype::kF32, {4}, {{{0}, {4}}}, counting(16));
  open_folder();
  expect_bad([&] { read(0, 12, 8); }, Code::kInternal, "8 bytes at 12 of a");
  expect_bad([&] { read(0, 2, 4); }, Code::kInternal, "read of");
  expect_bad([&] { read(0, -4, 4); }, Code::kInternal, "read of");
  expect_bad([&] { read(0, 0, 3); }, Code::kInternal, "read of");
}

TEST_F(DcpReaderTest, APinwheelOfChunks) {
  builder_.add(
      "w", Dtype::kI16, {3, 3},
      {{{0, 0}, {1, 2}}, {{0, 2}, {2, 1}}, {{1, 0}, {2, 1}}, {{1, 1}, {1, 1}}, {{2, 1}, {1, 2}}},
      counting(18));
  open_folder();
  for (int64_t begin = 0; begin <= 9; ++begin) {
    for (int64_t end = begin; end <= 9; ++end) {
      const auto size = static_cast<size_t>(2 * (end - begin));
      EXPECT_EQ(read(0, 2 * begin, size),
                counting(18).substr(static_cast<size_t>(2 * begin), size));
    }
  }
  reader_->finish();
}

TEST_F(DcpReaderTest, ASequentialReaderReadsEachByteOnceAndOneReadACall) {
  builder_.add("w", Dtype::kBF16, {4096, 512}, {{{0, 0}, {4096, 512}}}, counting(4 * kMiB));
  open_folder();
  read(0, 0, 2);
  const int64_t before = reads_logged();
  for (int64_t at = 0; at < 4 * kMiB; at += kMiB) {
    EXPECT_EQ(read(0, at, kMiB), counting(4 * kMiB).substr(static_cast<size_t>(at), kMiB));
  }
  EXPECT_EQ(reads_logged(), before + 4);
  reader_->finish();
  EXPECT_EQ(reads_logged(), before + 4);
}

TEST_F(DcpReaderTest, AnInnerAxisIsReadInBoundedPieces) {
  const std::string value = counting(6 * kMiB);
  builder_.add("w", Dtype::kF32, {1024, 1536}, {{{0, 0}, {1024, 1000}}, {{0, 1000}, {1024, 536}}},
               value);
  open_folder();
  read(0, 0, 4);
  read(0, 4000, 4);
  const int64_t before = reads_logged();
  EXPECT_EQ(read(0, 0, value.size()), value);
  // 4,096,000 and 2,195,456 bytes, in pieces of a MiB.
  EXPECT_EQ(reads_logged(), before + 4 + 3);
  reader_->finish();
}

TEST_F(DcpReaderTest, FinishReadsWhatNobodyAskedForOfItemsBegun) {
  builder_.add("w", Dtype::kI16, {4, 100}, {{{0, 0}, {2, 100}}, {{2, 0}, {2, 100}}}, counting(800));
  open_folder();
  const std::string good = builder_.data;
  // Changes a byte near the end of the payload of either chunk.
  const auto last_bytes = [&](size_t chunk, size_t at) {
    const auto item = static_cast<size_t>(builder_.tensors[0].chunks[chunk].offset);
    return good.find(counting(800).substr(at, 20), item);
  };
  const size_t in_first = last_bytes(0, 380);
  const size_t in_second = last_bytes(1, 780);

  std::string damaged = good;
  damaged[in_second] ^= 1;
  put_file(dir_ / "__0_0.distcp", damaged);
  reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
  EXPECT_EQ(read(0, 0, 10), counting(800).substr(0, 10));
  reader_->finish();  // the second chunk was not begun
  EXPECT_EQ(read(0, 400, 10), counting(800).substr(400, 10));
  expect_bad([&] { reader_->finish(); }, Code::kBadInput,
             "__0_0.distcp: w: CRC-32 mismatch (stored ");

  damaged = good;
  damaged[in_first] ^= 1;
  put_file(dir_ / "__0_0.distcp", damaged);
  reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
  EXPECT_EQ(read(0, 0, 10), counting(800).substr(0, 10));
  expect_bad([&] { reader_->finish(); }, Code::kBadInput, "the data is damaged");
  expect_bad([&] { read(0, 0, 2); }, Code::kBadInput, "the data is damaged");
}

// The second reader knows what the first had read of the unfinished items, and reads none of it
// again.
TEST_F(DcpReaderTest, AnotherReaderGoesOn) {
  builder_.add("w", Dtype::kI16, {4, 100}, {{{0, 0}, {2, 100}}, {{2, 0}, {2, 100}}}, counting(800));
  open_folder();
  read(0, 0, 300);
  read(0, 500, 100);
  const std::vector<NumberedPart> parts = reader_->open_parts();
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].number, 0);
  EXPECT_EQ(parts[0].part.length, 300);
  EXPECT_EQ(parts[1].number, 1);
  EXPECT_EQ(parts[1].part.offset, 100);
  for (const bool damaged : {false, true}) {
    reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
    std::vector<NumberedPart> before = parts;
    if (damaged) before[0].part.crc ^= 1;  // what was read then is not what the item should hold
    reader_->restore(before, {});
    if (damaged) {
      expect_bad([&] { read(0, 300, 100); }, Code::kBadInput, "CRC-32 mismatch");
      continue;
    }
    EXPECT_EQ(read(0, 300, 100), counting(800).substr(300, 100));
    EXPECT_EQ(reader_->open_parts().size(), 1U);
    reader_->finish();
    EXPECT_EQ(reader_->open_parts().size(), 0U);
  }
}

TEST_F(DcpReaderTest, PartsThatDoNotFitAreRefused) {
  builder_.add("w", Dtype::kI16, {4, 100}, {{{0, 0}, {2, 100}}, {{2, 0}, {2, 100}}}, counting(800));
  open_folder();
  for (const NumberedPart& part : std::vector<NumberedPart>{
           {-1, {0, 4, 0}}, {2, {0, 4, 0}}, {0, {-1, 4, 0}}, {0, {397, 4, 0}}, {0, {0, 0, 0}}}) {
    reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
    expect_bad([&] { reader_->restore({part}, {}); }, Code::kBadInput, "");
  }
  expect_bad(
      [&] {
        reader_->restore({{1, {0, 4, 0}}, {1, {3, 4, 0}}}, {});
      },
      Code::kBadInput, "__0_0.distcp: w: a part that does not fit its item");
}

TEST_F(DcpReaderTest, EveryFlippedBitOfAPayloadIsSeen) {
  const std::string value = counting(48);
  builder_.add("w", Dtype::kI16, {2, 12}, {{{0, 0}, {2, 12}}}, value);
  open_folder();
  const size_t payload = builder_.data.find(value);
  ASSERT_NE(payload, std::string::npos);
  for (size_t bit = 0; bit < 8 * value.size(); ++bit) {
    const size_t at = payload + bit / 8;
    poke(at, static_cast<char>(builder_.data[at] ^ (1 << bit % 8)));
    DcpReader reader(real_file_system(), folder_.dist_dir, folder_.metadata);
    EXPECT_THROW(read_whole(reader, folder_.metadata, 0), Error) << bit;
    poke(at, builder_.data[at]);
  }
}

// Flips every other byte of an item: the reader refuses it, or the tensor is unchanged (padding,
// time stamps).
TEST_F(DcpReaderTest, NoFlippedByteOfAnItemChangesTheTensor) {
  const std::string value = counting(24);
  builder_.add("w", Dtype::kI16, {2, 6}, {{{0, 0}, {2, 6}}}, value);
  open_folder();
  int refused = 0;
  for (size_t at = 0; at < builder_.data.size(); ++at) {
    poke(at, static_cast<char>(builder_.data[at] ^ 0x21));
    DcpReader reader(real_file_system(), folder_.dist_dir, folder_.metadata);
    try {
      EXPECT_EQ(read_whole(reader, folder_.metadata, 0), value) << at;
      reader.finish();
    } catch (const Error& e) {
      ++refused;
      EXPECT_TRUE(e.code() == Code::kBadInput || e.code() == Code::kUnsupported) << e.what();
    }
    poke(at, builder_.data[at]);
  }
  EXPECT_GT(refused, 300);
}

TEST_F(DcpReaderTest, TheItemMustAgreeWithMetadata) {
  builder_.add("w", Dtype::kF32, {2, 3}, {{{0, 0}, {2, 3}}}, counting(24));
  builder_.tensors[0].dtype = Dtype::kI32;
  open_folder();
  expect_bad([&] { read(0, 0, 4); }, Code::kBadInput,
             "__0_0.distcp: w: the item holds float32, .metadata says int32");
  builder_.tensors[0].dtype = Dtype::kF32;
  builder_.tensors[0].shape = {3, 2};
  builder_.tensors[0].chunks[0].sizes = {3, 2};
  open_folder();
  expect_bad([&] { read(0, 0, 4); }, Code::kBadInput,
             "the item holds [2, 3], .metadata says [3, 2]");
}

TEST_F(DcpReaderTest, AWrongLengthIsRefused) {
  builder_.add("w", Dtype::kF32, {6}, {{{0}, {6}}}, counting(24));
  builder_.data += std::string(500, '#');
  // torch fails as well: there is no central directory at the end.
  builder_.tensors[0].chunks[0].length += 500;
  open_folder();
  expect_bad([&] { read(0, 0, 4); }, Code::kBadInput, "__0_0.distcp: w: ");
}

// The bytes that torch.save writes for x[3:7] of a larger storage.
TEST_F(DcpReaderTest, AStorageLargerThanItsTensor) {
  PickleWriter p(2);
  p.global("torch._utils", "_rebuild_tensor_v2").mark();
  p.mark().string("storage").global("torch", "ShortStorage").string("0").string("cpu").integer(10);
  p.tuple().persistent_id().integer(3).int_tuple({4}).int_tuple({1}).boolean(false);
  p.global("collections", "OrderedDict").empty_tuple().reduce().tuple().reduce();
  ZipLayout layout("archive");
  layout.add("data.pkl", p.finish());
  layout.add("byteorder", "little");
  layout.add("data/0", counting(20));
  layout.add("version", "3\n");
  layout.finish();
  builder_.tensors.push_back({.key = "w", .dtype = Dtype::kI16, .shape = {4}, .chunks = {}});
  builder_.add_item({0}, {4}, layout.head());
  open_folder();
  EXPECT_EQ(read(0, 0, 8), counting(20).substr(6, 8));
  reader_->finish();

  for (const size_t at : {size_t{0}, size_t{19}}) {  // outside the tensor, under the CRC
    std::string damaged = builder_.data;
    damaged[damaged.find(counting(20)) + at] ^= 1;
    put_file(dir_ / "__0_0.distcp", damaged);
    reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
    EXPECT_EQ(read(0, 0, 8), counting(20).substr(6, 8));
    expect_bad([&] { reader_->finish(); }, Code::kBadInput, "CRC-32 mismatch");
  }
}

// torch.serialization.set_crc32_options(False) writes 0 everywhere.
TEST_F(DcpReaderTest, WithoutCrcsNothingIsVerifiedAndItIsCounted) {
  builder_.add("v", Dtype::kI16, {4}, {{{0}, {2}}, {{2}, {2}}}, "aabbccdd");
  builder_.add("w", Dtype::kI16, {4}, {{{0}, {4}}}, "eeffgghh");
  const auto erase = [&](const std::string& signature, size_t distance) {
    const auto end = static_cast<size_t>(builder_.tensors[1].chunks[0].offset);
    for (size_t at = builder_.data.find(signature); at < end;
         at = builder_.data.find(signature, at + 1)) {
      builder_.data.replace(at + distance, 4, std::string(4, '\0'));
    }
  };
  erase("PK\x01\x02", 16);
  erase("PK\x07\x08", 4);
  open_folder();
  EXPECT_EQ(read(0, 0, 8), "aabbccdd");
  EXPECT_EQ(read(0, 0, 8), "aabbccdd");
  EXPECT_EQ(read(1, 0, 8), "eeffgghh");
  reader_->finish();
  EXPECT_EQ(reader_->items_without_crc(), 2);
  EXPECT_EQ(reader_->take_without_crc(), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(reader_->take_without_crc(), std::vector<int64_t>{});
  // Another reader, which touches an item that this one has touched, counts it once.
  reader_ = std::make_unique<DcpReader>(fs_, folder_.dist_dir, folder_.metadata);
  reader_->restore({}, {1});
  EXPECT_EQ(reader_->items_without_crc(), 1);
  EXPECT_EQ(reader_->take_without_crc(), std::vector<int64_t>{});
  read(0, 0, 8);
  EXPECT_EQ(reader_->items_without_crc(), 2);
  EXPECT_EQ(reader_->take_without_crc(), std::vector<int64_t>{0});
  for (const int64_t number : {-1, 3}) {
    expect_bad([&] { reader_->restore({}, {number}); }, Code::kBadInput, "an item that is not");
  }
}

TEST_F(DcpReaderTest, FailuresOfTheDiskNameFileAndTensor) {
  builder_.add("w", Dtype::kI16, {4}, {{{0}, {4}}}, "aabbccdd");
  open_folder();
  read(0, 0, 8);
  fs_.fail_at(fs_.count() + 1, 5);
  expect_bad([&] { read(0, 0, 8); }, Code::kIo, "__0_0.distcp: w: ");
}

// A checkpoint of many ranks has more files than a process may open.
TEST_F(DcpReaderTest, OnlySoManyFilesStayOpen) {
  std::vector<std::string> names;
  DcpTensor tensor{.key = "w", .dtype = Dtype::kI16, .shape = {300}, .chunks = {}};
  for (int64_t i = 0; i < 300; ++i) {
    FolderBuilder one;
    one.add("w", Dtype::kI16, {1}, {{{0}, {1}}},
            counting(600).substr(static_cast<size_t>(2 * i), 2));
    names.push_back("__" + std::to_string(i) + "_0.distcp");
    put_file(dir_ / names.back(), one.data);
    tensor.chunks.push_back(one.tensors[0].chunks[0]);
    tensor.chunks.back().offsets = {i};
    tensor.chunks.back().file = static_cast<int32_t>(i);
  }
  const DcpMetadata metadata{.files = names, .tensors = {tensor}, .objects = {}};
  DcpReader reader(real_file_system(), dir_.path(), metadata);
  EXPECT_EQ(read_whole(reader, metadata, 0), counting(600));
  EXPECT_EQ(read_whole(reader, metadata, 0), counting(600));
  reader.finish();
  int64_t open_here = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const Path target = std::filesystem::read_symlink(entry.path(), ignored);
    if (target.native().starts_with(dir_.path().native())) ++open_here;
  }
  EXPECT_EQ(open_here, 64);
}

}  // namespace
}  // namespace bridge
