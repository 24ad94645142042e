// Tests archives of one tensor or object: archives of torch 2.11 (data/torch_items, made by
// make_items.py there) are read, and ours have the pickle that torch reads.
#include "bridge/io/torch_dist/torch_item.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <functional>

#include "bridge/io/base/error.h"
#include "tests/io/file/memory_file.h"

namespace bridge {
namespace {

// bfloat16 [2, 64], float8_e4m3fn [3, 1, 2], int64 [] and uint8 [0, 4], made by hand with Python.
constexpr const char* kPickleBF16 =
    "800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a7100282858070000007374"
    "6f7261676563746f7263680a42466c6f6174313653746f726167650a710158010000003058030000006370754b80"
    "74514b004b024b40864b404b01868963636f6c6c656374696f6e730a4f726465726564446963740a710229527452"
    "2e";
constexpr const char* kPickleF8E4M3 =
    "800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76330a7100282858070000007374"
    "6f7261676563746f7263682e73746f726167650a556e747970656453746f726167650a7101580100000030580300"
    "00006370754b0674514b004b034b014b02874b024b024b01878963636f6c6c656374696f6e730a4f726465726564"
    "446963740a7102295263746f7263680a666c6f6174385f65346d33666e0a710374522e";
constexpr const char* kPickleI64 =
    "800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a7100282858070000007374"
    "6f7261676563746f7263680a4c6f6e6753746f726167650a710158010000003058030000006370754b0174514b00"
    "29298963636f6c6c656374696f6e730a4f726465726564446963740a7102295274522e";
constexpr const char* kPickleU8 =
    "800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a7100282858070000007374"
    "6f7261676563746f7263680a4279746553746f726167650a710158010000003058030000006370754b0074514b00"
    "4b004b04864b044b01868963636f6c6c656374696f6e730a4f726465726564446963740a7102295274522e";
constexpr int64_t kCommonLayers = 3;  // as Python reads it

uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

TensorItem read_item(const std::string& bytes) {
  const MemoryFile file(bytes);
  return read_tensor_item(file, 0, file.size());
}

std::string saved(const std::string& name) {
  return read_data("torch_items/" + name + ".pt");
}

TEST(ReadTensorItem, EveryDtypeOfTorch) {
  const Dtype dtypes[] = {Dtype::kBool, Dtype::kU8,     Dtype::kI8,     Dtype::kI16,
                          Dtype::kU16,  Dtype::kI32,    Dtype::kU32,    Dtype::kI64,
                          Dtype::kU64,  Dtype::kF16,    Dtype::kBF16,   Dtype::kF32,
                          Dtype::kF64,  Dtype::kF8E4M3, Dtype::kF8E5M2, Dtype::kF8E8M0};
  for (const Dtype dtype : dtypes) {
    const TensorItem item = read_item(saved(std::string(torch_name(dtype))));
    EXPECT_EQ(item.dtype, dtype);
    EXPECT_EQ(item.shape, (Shape{3, 1, 2}));
    EXPECT_EQ(item.record_size, 6 * bits_of(dtype) / 8);
    EXPECT_EQ(item.data_offset, item.record_offset);
    EXPECT_EQ(item.data_offset % 64, 0);
    EXPECT_TRUE(item.has_crc);
  }
}

TEST(ReadTensorItem, Values) {
  const std::string bytes = saved("bfloat16_8");
  const TensorItem item = read_item(bytes);
  const std::string data = unhex("0000803f004040408040a040c040e040");  // 0..7
  EXPECT_EQ(bytes.substr(static_cast<size_t>(item.data_offset), 16), data);
  EXPECT_EQ(item.record_crc, crc_of(data));
  EXPECT_EQ(read_item(saved("zipfile")).record_crc, crc_of(data));
  EXPECT_FALSE(read_item(saved("without_crc")).has_crc);
}

TEST(ReadTensorItem, InsideALargerFile) {
  const std::string bytes = saved("bfloat16_8");
  const MemoryFile file(std::string(1000, 'x') + bytes + "tail");
  const TensorItem item = read_tensor_item(file, 1000, std::ssize(bytes));
  EXPECT_EQ(item.data_offset, 1000 + read_item(bytes).data_offset);
}

// Reads nothing between the ends and each end once: an item has about twenty small records and
// headers.
TEST(ReadTensorItem, ReadsTheEndsOnce) {
  for (const int64_t elements : {8, 5'000'000}) {
    const ZipLayout layout = tensor_item_layout(Dtype::kBF16, {elements});
    MemoryFile file;
    file.put(0, layout.head());
    const std::string tail = layout.tail(0x12345678);
    file.put(layout.total_size() - std::ssize(tail), tail);
    EXPECT_EQ(read_tensor_item(file, 0, file.size()).record_crc, 0x12345678U);
    EXPECT_LE(file.bytes_read(), 4096) << elements;
    EXPECT_LE(file.reads(), 2) << elements;
  }
}

// torch saves torch.arange(20, dtype=float32)[4:10].view(2, 3) with its whole storage.
TEST(ReadTensorItem, ViewIntoALargerStorage) {
  const std::string bytes = saved("view");
  const TensorItem item = read_item(bytes);
  EXPECT_EQ(item.shape, (Shape{2, 3}));
  EXPECT_EQ(item.record_size, 80);
  EXPECT_EQ(item.data_offset, item.record_offset + 16);
  EXPECT_EQ(bytes.substr(static_cast<size_t>(item.data_offset), 4), unhex("00008040"));  // 4.0
}

TEST(ReadTensorItem, OtherShapes) {
  EXPECT_EQ(read_item(saved("scalar")).shape, Shape{});
  EXPECT_EQ(read_item(saved("scalar")).record_size, 8);
  EXPECT_EQ(read_item(saved("empty")).shape, (Shape{0, 4}));
  EXPECT_EQ(read_item(saved("empty")).record_size, 0);
  EXPECT_EQ(read_item(saved("one_row")).shape, (Shape{1, 3}));  // strides 77, 1
  EXPECT_EQ(read_item(saved("parameter")).shape, (Shape{2, 2}));
  EXPECT_EQ(read_item(saved("parameter")).dtype, Dtype::kF32);
}

TEST(ReadObjectItem, CommonStateOfMegatron) {
  const MemoryFile file(saved("common"));
  MemoryBudget budget(1 << 20);
  {
    const PickleValue common = read_object_item(file, 0, file.size(), budget);
    EXPECT_EQ(common->get("checkpoint_version")->real, 3.0);
    EXPECT_EQ(common->get("iteration")->integer, 0);
    EXPECT_EQ(common->get("content_metadata")->kind, PickleNode::Kind::kDict);
    const PickleNode& args = *common->get("args");
    EXPECT_TRUE(args.is_object_of("argparse", "Namespace"));
    EXPECT_EQ(args.get("num_layers")->integer, kCommonLayers);
    EXPECT_EQ(args.get("tensor_model_parallel_size")->integer, 1);
  }
  EXPECT_EQ(budget.used(), 0);
}

TEST(ReadObjectItem, TensorsStayPersistentIds) {
  const MemoryFile file(saved("scalar"));
  MemoryBudget budget(1 << 20);
  const PickleValue tensor = read_object_item(file, 0, file.size(), budget);
  ASSERT_TRUE(tensor->is_object_of("torch._utils", "_rebuild_tensor_v2"));
  const PickleNode& storage = *tensor->items[1]->items[0];
  ASSERT_EQ(storage.kind, PickleNode::Kind::kPersistent);
  EXPECT_EQ(storage.items[0]->items[2]->text, "0");
}

// Our whole item, and the bytes of its pickle.
std::string our_item(Dtype dtype, const Shape& shape, std::string_view data) {
  const ZipLayout layout = tensor_item_layout(dtype, shape);
  std::string bytes = layout.head();
  EXPECT_EQ(layout.streamed_offset(), std::ssize(bytes));
  bytes += data;
  bytes += layout.tail(crc_of(data));
  EXPECT_EQ(std::ssize(bytes), layout.total_size());
  return bytes;
}

std::string entry_of(const std::string& bytes, std::string_view name) {
  const MemoryFile file(bytes);
  const ZipArchive archive = read_zip(file, 0, file.size());
  return read_zip_entry(file, archive, *archive.find(name), 1 << 20);
}

// torch.load(weights_only=True) of torch 2.11 has checked these pickles.
TEST(TensorItemLayout, PicklesThatTorchReads) {
  EXPECT_EQ(entry_of(our_item(Dtype::kBF16, {2, 64}, std::string(256, 'x')), "data.pkl"),
            unhex(kPickleBF16));
  EXPECT_EQ(entry_of(our_item(Dtype::kF8E4M3, {3, 1, 2}, "sixsix"), "data.pkl"),
            unhex(kPickleF8E4M3));
  EXPECT_EQ(entry_of(our_item(Dtype::kI64, {}, "eight..."), "data.pkl"), unhex(kPickleI64));
  EXPECT_EQ(entry_of(our_item(Dtype::kU8, {0, 4}, ""), "data.pkl"), unhex(kPickleU8));
}

TEST(TensorItemLayout, RecordsInTorchsOrder) {
  const MemoryFile file(our_item(Dtype::kI16, {2}, "abcd"));
  const ZipArchive archive = read_zip(file, 0, file.size());
  EXPECT_EQ(archive.prefix, "archive");
  std::string names;
  for (const ZipEntry& entry : archive.entries) {
    names += entry.name + " ";
    EXPECT_EQ(entry.data_offset % 64, 0) << entry.name;
  }
  EXPECT_EQ(names, "data.pkl .format_version .storage_alignment byteorder data/0 version ");
  EXPECT_EQ(entry_of(our_item(Dtype::kI16, {2}, "abcd"), "version"), "3\n");
  EXPECT_EQ(entry_of(our_item(Dtype::kI16, {2}, "abcd"), "data/0"), "abcd");
}

TEST(TensorItemLayout, RoundTrip) {
  for (int i = 0; i <= static_cast<int>(Dtype::kF8E8M0); ++i) {
    const auto dtype = static_cast<Dtype>(i);
    for (const Shape& shape : {Shape{}, Shape{7}, Shape{0, 3}, Shape{1, 2, 1, 3}}) {
      const std::string data(static_cast<size_t>(byte_size(dtype, shape)), 'd');
      const TensorItem item = read_item(our_item(dtype, shape, data));
      EXPECT_EQ(item.dtype, dtype);
      EXPECT_EQ(item.shape, shape);
      EXPECT_EQ(item.record_size, std::ssize(data));
      EXPECT_EQ(item.record_crc, crc_of(data));
    }
  }
}

TEST(TensorItemLayout, SubByteIsRefused) {
  EXPECT_THROW(tensor_item_layout(Dtype::kF4E2M1, {2, 2}), Error);
}

TEST(ObjectItem, ListOfNone) {
  const std::string bytes = object_item(unhex("80025d4e612e"), "archive");
  EXPECT_EQ(entry_of(bytes, "data.pkl"), unhex("80025d4e612e"));
  const MemoryFile file(bytes);
  MemoryBudget budget(1 << 20);
  const PickleValue list = read_object_item(file, 0, file.size(), budget);
  ASSERT_EQ(list->items.size(), 1u);
  EXPECT_EQ(list->items[0]->kind, PickleNode::Kind::kNone);
  // Equals torch's archive except for the id that torch adds and the memo opcodes of its pickle.
  const MemoryFile torch(saved("list_of_none"));
  const PickleValue theirs = read_object_item(torch, 0, torch.size(), budget);
  EXPECT_EQ(theirs->items[0]->kind, PickleNode::Kind::kNone);
}

// A tensor archive with an invented pickle, records and storage.
struct Made {
  std::string callee = "torch._utils _rebuild_tensor_v2";
  std::string storage_class = "torch FloatStorage";
  std::string tag = "storage";
  int64_t numel = 6;
  int64_t offset = 0;
  std::vector<int64_t> shape = {2, 3};
  std::vector<int64_t> strides = {3, 1};
  std::string dtype = "";  // v3
  bool metadata = false;
  std::string storage = std::string(24, 's');
  std::string version = "3\n";
  std::string byteorder = "little";
  std::string storage_name = "data/0";
  std::string pickle_name = "data.pkl";
};

std::string archive_of(const Made& made) {
  const auto global = [](PickleWriter& out, const std::string& name) {
    const size_t space = name.find(' ');
    out.global(name.substr(0, space), name.substr(space + 1));
  };
  PickleWriter out(2);
  global(out, made.callee);
  out.mark().mark().string(made.tag);
  global(out, made.storage_class);
  out.string("0").string("cpu").integer(made.numel).tuple().persistent_id();
  out.integer(made.offset).int_tuple(made.shape).int_tuple(made.strides).boolean(false).none();
  if (!made.dtype.empty()) global(out, made.dtype);
  if (made.metadata) out.empty_dict().mark().string("conj").boolean(true).set_items();
  ZipLayout layout("x");
  layout.add(made.pickle_name, out.tuple().reduce().finish());
  layout.add(made.storage_name, made.storage);
  if (!made.version.empty()) layout.add("version", made.version);
  if (!made.byteorder.empty()) layout.add("byteorder", made.byteorder);
  layout.finish();
  return layout.head();
}

TEST(ReadTensorItem, MadeUpArchiveIsGood) {
  const TensorItem item = read_item(archive_of({}));
  EXPECT_EQ(item.dtype, Dtype::kF32);
  EXPECT_EQ(item.shape, (Shape{2, 3}));
  EXPECT_EQ(read_item(archive_of({.byteorder = ""})).shape, (Shape{2, 3}));
  EXPECT_EQ(read_item(archive_of({.version = "10"})).shape, (Shape{2, 3}));
  EXPECT_EQ(read_item(archive_of({.version = "1\n"})).shape, (Shape{2, 3}));
}

struct BadItem {
  const char* name;
  std::function<std::string()> make;
  Code code;
  const char* message;
};

void PrintTo(const BadItem& bad, std::ostream* out) {
  *out << bad.name;
}

constexpr const char* kV3 = "torch._utils _rebuild_tensor_v3";
constexpr const char* kUntyped = "torch.storage UntypedStorage";

std::string with_pickle(const std::string& pickle) {
  return object_item(pickle, "archive");
}

const BadItem kBadItems[] = {
    {"no_version", [] { return archive_of({.version = ""}); }, Code::kBadInput,
     "without a version record"},
    {"version_0", [] { return archive_of({.version = "0\n"}); }, Code::kBadInput,
     "archive version \"0\\x0a\""},
    {"version_11", [] { return archive_of({.version = "11\n"}); }, Code::kBadInput, "1 to 10"},
    {"version_text", [] { return archive_of({.version = "3a"}); }, Code::kBadInput, "1 to 10"},
    {"version_newlines", [] { return archive_of({.version = "\n\n"}); }, Code::kBadInput,
     "1 to 10"},
    {"version_long", [] { return archive_of({.version = std::string(65, '1')}); }, Code::kBadInput,
     "65 bytes, at most 64"},
    {"big_endian", [] { return archive_of({.byteorder = "big"}); }, Code::kUnsupported,
     "big-endian"},
    {"byteorder", [] { return archive_of({.byteorder = "middle"}); }, Code::kBadInput,
     "byteorder \"middle\""},
    {"no_pickle", [] { return archive_of({.pickle_name = "data.pkl2"}); }, Code::kBadInput,
     "without a data.pkl record"},
    {"no_storage_record", [] { return archive_of({.storage_name = "data/1"}); }, Code::kBadInput,
     "without a data/0 record"},
    {"storage_short", [] { return archive_of({.storage = std::string(23, 's')}); }, Code::kBadInput,
     "storage record of 23 bytes, the pickle says 24"},
    {"storage_long", [] { return archive_of({.storage = std::string(28, 's')}); }, Code::kBadInput,
     "storage record of 28 bytes, the pickle says 24"},
    {"numel_negative", [] { return archive_of({.numel = -6}); }, Code::kBadInput,
     "storage size is not a count"},
    {"numel_overflow", [] { return archive_of({.numel = INT64_MAX}); }, Code::kBadInput,
     "storage size overflows"},
    {"offset_negative", [] { return archive_of({.offset = -1}); }, Code::kBadInput,
     "storage offset is not a count"},
    {"offset_outside", [] { return archive_of({.offset = 1}); }, Code::kBadInput,
     "tensor of 24 bytes at 4 does not lie in its storage of 24 bytes"},
    {"offset_overflow", [] { return archive_of({.offset = INT64_MAX}); }, Code::kBadInput,
     "storage offset overflows"},
    {"shape_larger",
     [] {
       return archive_of({.shape = {3, 3}});
     },
     Code::kBadInput, "tensor of 36 bytes at 0 does not lie"},
    {"shape_negative",
     [] {
       return archive_of({.shape = {-2, 3}});
     },
     Code::kBadInput, "size is not a count"},
    {"shape_overflow",
     [] {
       return archive_of({.shape = {int64_t{1} << 40, int64_t{1} << 40}});
     },
     Code::kBadInput, "overflows"},
    {"rank_differs", [] { return archive_of({.strides = {1}}); }, Code::kBadInput,
     "size and stride differ in rank"},
    {"transposed", [] { return saved("transposed"); }, Code::kUnsupported,
     "strides [1, 3] for shape [3, 2]"},
    {"expanded",
     [] {
       return archive_of({.strides = {0, 1}});
     },
     Code::kUnsupported, "strides [0, 1] for shape [2, 3]"},
    {"conjugate_view", [] { return saved("conjugate"); }, Code::kUnsupported,
     "tensor with metadata (a conjugate or negative view)"},
    {"made_up_metadata", [] { return archive_of({.metadata = true}); }, Code::kUnsupported,
     "tensor with metadata"},
    {"quantized_storage", [] { return archive_of({.storage_class = "torch QInt8Storage"}); },
     Code::kUnsupported, "storage of type torch QInt8Storage"},
    {"storage_of_other_module", [] { return archive_of({.storage_class = "evil FloatStorage"}); },
     Code::kUnsupported, "storage of type evil FloatStorage"},
    {"not_a_storage_id", [] { return archive_of({.tag = "module"}); }, Code::kBadInput,
     "not the persistent id of a storage"},
    {"untyped_v2", [] { return archive_of({.storage_class = kUntyped, .numel = 24}); },
     Code::kBadInput, "untyped storage without a dtype"},
    {"untyped_counts_bytes",
     [] { return archive_of({.callee = kV3, .storage_class = kUntyped, .dtype = "torch uint32"}); },
     Code::kBadInput, "storage record of 24 bytes, the pickle says 6"},
    {"unknown_dtype",
     [] {
       return archive_of(
           {.callee = kV3, .storage_class = kUntyped, .numel = 24, .dtype = "torch complex32"});
     },
     Code::kUnsupported, "tensor of type torch complex32"},
    {"float4",
     [] {
       return archive_of({.callee = kV3,
                          .storage_class = kUntyped,
                          .numel = 24,
                          .dtype = "torch float4_e2m1fn_x2"});
     },
     Code::kUnsupported, "float4_e2m1fn_x2 tensor"},
    {"v3_without_dtype", [] { return archive_of({.callee = kV3}); }, Code::kBadInput,
     "6 arguments"},
    {"other_callee", [] { return archive_of({.callee = "torch._utils _rebuild_qtensor"}); },
     Code::kUnsupported, "the archive holds torch._utils _rebuild_qtensor, not a plain tensor"},
    {"os_system",
     [] {
       return with_pickle(
           unhex("800263706f7369780a73797374656d0a710058020000006964710185710252"
                 "71032e"));
     },
     Code::kUnsupported, "the archive holds posix system, not a plain tensor"},
    {"object", [] { return saved("list_of_none"); }, Code::kUnsupported, "holds no tensor"},
    {"parameter_of_nothing",
     [] {
       return with_pickle(PickleWriter(2)
                              .global("torch._utils", "_rebuild_parameter")
                              .empty_tuple()
                              .reduce()
                              .finish());
     },
     Code::kUnsupported, "_rebuild_parameter, not a plain tensor"},
    {"pickle_cut_short", [] { return with_pickle("\x80\x02N"); }, Code::kBadInput,
     "the pickle ends without STOP"},
    {"pickle_too_large", [] { return with_pickle(std::string(20000, 'N')); }, Code::kBadInput,
     "zip entry data.pkl: 20000 bytes, at most 16384"},
    {"compressed", [] { return saved("deflated"); }, Code::kUnsupported, "compressed (method 8)"},
    {"pickle_crc",
     [] {
       std::string bytes = saved("bfloat16_8");
       bytes[bytes.find("BFloat16Storage")] = 'C';
       return bytes;
     },
     Code::kBadInput, "zip entry data.pkl: CRC"},
};

class BadItemTest : public testing::TestWithParam<BadItem> {};

TEST_P(BadItemTest, IsRefused) {
  try {
    read_item(GetParam().make());
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), GetParam().code);
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
  }
}

INSTANTIATE_TEST_SUITE_P(All, BadItemTest, testing::ValuesIn(kBadItems),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
