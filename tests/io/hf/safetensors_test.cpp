// Tests safetensors headers: files of real writers, refusals, and every small damage of a header.
#include "bridge/io/hf/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "bridge/io/base/error.h"
#include "tests/data_dir.h"
#include "tests/growth.h"

namespace bridge {
namespace {

// A file in memory.
class MemoryFile : public File {
 public:
  explicit MemoryFile(std::string content) : content_(std::move(content)) {}
  const Path& path() const override { return path_; }
  int64_t size() const override { return static_cast<int64_t>(content_.size()); }
  void read_at(int64_t offset, std::span<std::byte> out) const override {
    if (static_cast<size_t>(offset) + out.size() > content_.size()) bad_input("file ends early");
    std::memcpy(out.data(), content_.data() + offset, out.size());
  }
  void write_at(int64_t, std::span<const std::byte>) override { internal_error("read only"); }
  void allocate(int64_t) override { internal_error("read only"); }
  void sync() override {}

 private:
  Path path_ = "some/x.safetensors";
  std::string content_;
};

std::string length_bytes(uint64_t length) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i) & 0xff);
  return bytes;
}

std::string file_of(const std::string& json, size_t payload) {
  return length_bytes(json.size()) + json + std::string(payload, 'p');
}

SafetensorsHeader read(const std::string& content) {
  MemoryBudget budget(1 << 30);
  return read_safetensors_header(MemoryFile(content), budget);
}

std::string describe(const SafetensorsHeader& header) {
  std::string text = fmt::format("{}+{}", header.payload_offset, header.payload_size);
  for (const auto& [key, value] : header.metadata) text += fmt::format(" {}={}", key, value);
  for (const SafetensorsEntry& e : header.entries) {
    text += fmt::format(" {}:{}{}@{}-{}", e.name, safetensors_name(e.dtype), shape_text(e.shape),
                        e.begin, e.end);
  }
  return text;
}

TEST(Safetensors, ReadsEntriesInOffsetOrder) {
  const std::string json =
      R"({"b":{"dtype":"I64","shape":[],"data_offsets":[12,20]},"__metadata__":{"format":"pt","x":""},)"
      R"("a":{"data_offsets":[0,12],"shape":[2,3],"dtype":"BF16"},)"
      R"("none":{"dtype":"F32","shape":[0,7],"data_offsets":[12,12]},)"
      R"("four":{"dtype":"F4","shape":[3,2],"data_offsets":[20,23]}}  )";
  EXPECT_EQ(describe(read(file_of(json, 23))),
            fmt::format("{}+23 format=pt x= a:BF16[2, 3]@0-12 none:F32[0, 7]@12-12 b:I64[]@12-20 "
                        "four:F4[3, 2]@20-23",
                        8 + json.size()));
}

TEST(Safetensors, EmptyHeaderIsFine) {
  EXPECT_EQ(describe(read(file_of("{}      ", 0))), "16+0");
}

TEST(Safetensors, PayloadSizeCanComeFromTheEntries) {
  EXPECT_EQ(describe(parse_safetensors_header(
                R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", -1)),
            "61+3 a:U8[3]@0-3");
}

// Formats an entry with one part replaced.
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":{},"shape":{},"data_offsets":{}}})", name, dtype, shape,
                     offsets);
}
// Uses fmt::format because a literal + text triggers a false alarm of g++ 12's -Wrestrict.
std::string braces(const std::string& members) {
  return fmt::format("{{{}}}", members);
}
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return braces(entry("t", dtype, shape, offsets));
}
std::string two(const std::string& offsets_a, const std::string& offsets_b) {
  return braces(entry("a", "\"U8\"", "[4]", offsets_a) + "," +
                entry("b", "\"U8\"", "[4]", offsets_b));
}

struct BadCase {
  const char* name;
  std::string content;
  const char* message;
  Code code = Code::kBadInput;
};

class SafetensorsBad : public testing::TestWithParam<BadCase> {};

TEST_P(SafetensorsBad, IsRefused) {
  MemoryBudget budget(1 << 30);
  try {
    read_safetensors_header(MemoryFile(GetParam().content), budget);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), GetParam().code);
    EXPECT_EQ(e.message().substr(0, 15), "x.safetensors: ");
    EXPECT_NE(e.message().find(GetParam().message), std::string::npos) << e.message();
  }
  EXPECT_EQ(budget.used(), 0);
}

std::string overflow_shape() {
  return "[4294967296,4294967296,4294967296]";
}

INSTANTIATE_TEST_SUITE_P(
    Table, SafetensorsBad,
    testing::Values(
        BadCase{"EmptyFile", "", "0 bytes, too short"},
        BadCase{"SevenBytes", "1234567", "7 bytes, too short"},
        BadCase{"HeaderBeyondFile", length_bytes(3) + "{}", "header of 3 bytes in a file of 10"},
        BadCase{"HeaderAtCap", length_bytes(100'000'000) + "{}",
                "header of 100000000 bytes in a file of 10"},
        BadCase{"HeaderAboveCap", length_bytes(100'000'001) + "{}",
                "at most 100000000 are accepted"},
        BadCase{"HeaderLengthNegative", length_bytes(~uint64_t{0}) + "{}",
                "header of 18446744073709551615"},
        BadCase{"HeaderLengthZero", file_of("", 8), "does not start with '{'"},
        BadCase{"LeadingSpace", file_of(" {}", 0), "does not start with '{'"},
        BadCase{"LeadingArray", file_of("[]", 0), "does not start with '{'"},
        BadCase{"NotUtf8", file_of("{\"\xff\":1}", 0), "not UTF-8"},
        BadCase{"NotJson", file_of("{oops}", 0), "not JSON"},
        BadCase{"TextAfterHeader", file_of("{} {}", 0), "not JSON"},
        BadCase{"NulPadding", file_of(std::string("{}\0\0", 4), 0), "NUL"},
        BadCase{"Comment", file_of("{/**/}", 0), "not JSON"},
        BadCase{"DuplicateName",
                file_of(braces(entry("t", "\"U8\"", "[1]", "[0,1]") + "," +
                               entry("t", "\"U8\"", "[1]", "[1,2]")),
                        2),
                "duplicate key \"t\""},
        BadCase{"DuplicateKeyInEntry",
                file_of(R"({"t":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1),
                "duplicate key \"shape\""},
        BadCase{"DuplicateMetadata", file_of(R"({"__metadata__":{"a":"1","a":"2"}})", 0),
                "duplicate key \"a\""},
        BadCase{"MetadataNumber", file_of(R"({"__metadata__":{"a":1}})", 0),
                "__metadata__: a is a number, not a string"},
        BadCase{"MetadataNull", file_of(R"({"__metadata__":null})", 0), "__metadata__ is null"},
        BadCase{"MetadataList", file_of(R"({"__metadata__":["a"]})", 0),
                "__metadata__ is an array"},
        BadCase{"MetadataNested", file_of(R"({"__metadata__":{"a":{"b":"c"}}})", 0),
                "__metadata__: a is an object"},
        BadCase{"MetadataInnerList", file_of(R"({"__metadata__":{"shape":[1]}})", 0),
                "__metadata__: shape is an array"},
        BadCase{"EntryIsNumber", file_of(R"({"t":5})", 0),
                "tensor t: a number instead of an object"},
        BadCase{"EntryIsHuge", file_of(R"({"t":18446744073709551615})", 0),
                "tensor t: a number instead of an object"},
        BadCase{"EntryIsReal", file_of(R"({"t":0.5})", 0),
                "tensor t: a number instead of an object"},
        BadCase{"EntryIsString", file_of(R"({"t":"F32"})", 0),
                "tensor t: a string instead of an object"},
        BadCase{"EntryIsNull", file_of(R"({"t":null})", 0), "tensor t: null instead of an object"},
        BadCase{"EntryIsBoolean", file_of(R"({"t":true})", 0),
                "tensor t: a boolean instead of an object"},
        BadCase{"EntryIsArray", file_of(R"({"t":[]})", 0),
                "tensor t: an array instead of an object"},
        BadCase{"NoDtype", file_of(R"({"t":{"shape":[1],"data_offsets":[0,1]}})", 1),
                "tensor t: no dtype"},
        BadCase{"NoShape", file_of(R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", 1),
                "tensor t: no shape"},
        BadCase{"NoOffsets", file_of(R"({"t":{"dtype":"U8","shape":[1]}})", 1),
                "tensor t: no data_offsets"},
        BadCase{"EmptyEntry", file_of(R"({"t":{}})", 0), "tensor t: no dtype"},
        BadCase{"EntryAfterFullOne",
                file_of(braces(entry("t", "\"U8\"", "[1]", "[0,1]") + R"(,"u":{"dtype":"U8"})"), 1),
                "tensor u: no shape"},
        BadCase{
            "UnknownKey",
            file_of(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}})", 1),
            "tensor t: unknown key \"strides\""},
        BadCase{"UnknownDtype", file_of(one("\"F33\"", "[1]", "[0,1]"), 1),
                "tensor t: unknown dtype \"F33\""},
        BadCase{"DtypeCase", file_of(one("\"f32\"", "[1]", "[0,4]"), 4), "unknown dtype \"f32\""},
        BadCase{"DtypeEmpty", file_of(one("\"\"", "[1]", "[0,4]"), 4), "unknown dtype \"\""},
        BadCase{"DtypeNumber", file_of(one("32", "[1]", "[0,4]"), 4),
                "tensor t: dtype holds a number"},
        BadCase{"DtypeArray", file_of(one("[32]", "[1]", "[0,4]"), 4),
                "tensor t: dtype holds an array"},
        BadCase{"DtypeComplex", file_of(one("\"C64\"", "[1]", "[0,8]"), 8),
                "dtype C64 is not supported", Code::kUnsupported},
        BadCase{"DtypeSixBits", file_of(one("\"F6_E2M3\"", "[4]", "[0,3]"), 3), "F6_E2M3",
                Code::kUnsupported},
        BadCase{"ShapeNegative", file_of(one("\"U8\"", "[-1]", "[0,1]"), 1),
                "shape holds the negative number -1"},
        BadCase{"ShapeMinusZero", file_of(one("\"U8\"", "[-0]", "[0,0]"), 0), "shape holds -0"},
        BadCase{"ShapeReal", file_of(one("\"U8\"", "[1.0]", "[0,1]"), 1), "shape holds 1.0"},
        BadCase{"ShapeBeyondInt64", file_of(one("\"U8\"", "[9223372036854775808]", "[0,1]"), 1),
                "out of range"},
        BadCase{"ShapeBeyondUint64", file_of(one("\"U8\"", "[18446744073709551617]", "[0,1]"), 1),
                "shape holds 18446744073709551617"},
        BadCase{"ShapeString", file_of(one("\"U8\"", "[\"1\"]", "[0,1]"), 1),
                "shape holds a string"},
        BadCase{"ShapeNumber", file_of(one("\"U8\"", "1", "[0,1]"), 1), "shape holds a number"},
        BadCase{"ShapeNull", file_of(one("\"U8\"", "null", "[0,1]"), 1), "shape holds null"},
        BadCase{"ShapeNested", file_of(one("\"U8\"", "[[1]]", "[0,1]"), 1),
                "nested more than 3 deep"},
        BadCase{"ShapeObject", file_of(one("\"U8\"", "{}", "[0,1]"), 1), "shape holds an object"},
        BadCase{"ShapeOverflow", file_of(one("\"U8\"", overflow_shape(), "[0,0]"), 0),
                "tensor t: number of elements overflows"},
        BadCase{"ShapeOverflowBesideZero",
                file_of(one("\"U8\"", "[0,4294967296,4294967296]", "[0,0]"), 0), "overflows"},
        BadCase{"BitsOverflow", file_of(one("\"F64\"", "[1152921504606846976]", "[0,0]"), 0),
                "tensor size overflows"},
        BadCase{"Rank65",
                file_of(one("\"U8\"",
                            fmt::format("[1{}]", fmt::join(std::vector<std::string>(64, ",1"), "")),
                            "[0,1]"),
                        1),
                "shape has more than 64 numbers"},
        BadCase{"HalfByte", file_of(one("\"F4\"", "[3]", "[0,2]"), 2), "does not end on a byte"},
        BadCase{"OffsetsOne", file_of(one("\"U8\"", "[1]", "[1]"), 1),
                "data_offsets is not a pair"},
        BadCase{"OffsetsThree", file_of(one("\"U8\"", "[1]", "[0,1,2]"), 1),
                "data_offsets has more than 2 numbers"},
        BadCase{"OffsetsNegative", file_of(one("\"U8\"", "[1]", "[-1,0]"), 1),
                "data_offsets holds the negative number -1"},
        BadCase{"OffsetsReversed", file_of(one("\"U8\"", "[1]", "[1,0]"), 1),
                "end before they begin"},
        BadCase{"OffsetsBeyondUint64", file_of(one("\"U8\"", "[1]", "[0,1e3]"), 1),
                "data_offsets holds 1e3"},
        BadCase{"SizeTooSmall", file_of(one("\"F32\"", "[2]", "[0,4]"), 4),
                "hold 4 bytes, F32 [2] needs 8"},
        BadCase{"SizeTooLarge", file_of(one("\"F32\"", "[]", "[0,8]"), 8),
                "hold 8 bytes, F32 [] needs 4"},
        BadCase{"HoleAtStart", file_of(one("\"U8\"", "[1]", "[1,2]"), 2),
                "tensor t: hole between 0 and 1"},
        BadCase{"HoleBetween", file_of(two("[0,4]", "[5,9]"), 9), "tensor b: hole between 4 and 5"},
        BadCase{"Overlap", file_of(two("[0,4]", "[3,7]"), 7), "tensor b: overlap between 3 and 4"},
        BadCase{"SameBytesTwice", file_of(two("[0,4]", "[0,4]"), 4),
                "tensor b: overlap between 0 and 4"},
        BadCase{"PayloadTooShort", file_of(two("[0,4]", "[4,8]"), 7),
                "the tensors end at 8, the payload has 7 bytes"},
        BadCase{"PayloadTooLong", file_of(two("[0,4]", "[4,8]"), 9),
                "the tensors end at 8, the payload has 9 bytes"},
        BadCase{"PayloadWithoutTensors", file_of("{}", 1),
                "the tensors end at 0, the payload has 1 bytes"},
        BadCase{"NameIsEscaped", file_of(braces(entry("\\u001b[2J", "\"X\"", "[]", "[0,0]")), 0),
                "tensor \\x1b[2J"}),
    [](const auto& test) { return test.param.name; });

const char* const kSmall =
    R"({"__metadata__":{"format":"pt"},"a.w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
    R"("b":{"dtype":"F32","shape":[],"data_offsets":[12,16]}})";

TEST(Safetensors, TruncatedAtEveryByte) {
  const std::string content = file_of(kSmall, 16);
  read(content);
  for (size_t size = 0; size < content.size(); ++size) {
    EXPECT_THROW(read(content.substr(0, size)), Error) << size;
  }
}

TEST(Safetensors, HeaderTextCutAtEveryByte) {
  const std::string json = kSmall;
  for (size_t size = 0; size < json.size(); ++size) {
    EXPECT_THROW(read(file_of(json.substr(0, size), 16)), Error) << size;
  }
}

// A flipped bit is refused, or it changed only a name or a text of the metadata, or it turned the
// dtype or shape into one of the same size.
TEST(Safetensors, EverySingleBitFlip) {
  const std::string content = file_of(kSmall, 16);
  const SafetensorsHeader original = read(content);
  int accepted = 0;
  for (size_t bit = 0; bit < 8 * (content.size() - 16); ++bit) {
    std::string damaged = content;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    try {
      const SafetensorsHeader header = read(damaged);
      ++accepted;
      EXPECT_EQ(header.payload_offset, original.payload_offset);
      EXPECT_EQ(header.payload_size, 16);
      for (size_t i = 0; i < header.entries.size() && header.entries.size() == 2; ++i) {
        EXPECT_EQ(header.entries[i].begin, original.entries[i].begin);
        EXPECT_EQ(header.entries[i].end, original.entries[i].end);
        EXPECT_EQ(byte_size(header.entries[i].dtype, header.entries[i].shape),
                  header.entries[i].end - header.entries[i].begin);
      }
      EXPECT_EQ(header.entries.size(), 2u);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kBadInput) << e.message();
    }
  }
  // Only the 4 letters of the names, 8 letters of the metadata and changes of two digits pass: far
  // fewer than all 1,200 flips.
  EXPECT_LT(accepted, 120);
}

TEST(Safetensors, EveryByteReplaced) {
  const std::string content = file_of(kSmall, 16);
  for (size_t i = 0; i < content.size(); ++i) {
    for (const char c : {'\0', '"', '{', '}', '[', ']', ',', ':', '9', '-', '\\', '\x7f', '\xff'}) {
      std::string damaged = content;
      damaged[i] = c;
      try {
        read(damaged);
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kBadInput);
      }
    }
  }
}

TEST(Safetensors, TextIsReservedWhileParsedAndEntriesStay) {
  MemoryBudget budget(1 << 20);
  const std::string content = file_of(std::string(kSmall) + std::string(10'000, ' '), 16);
  const SafetensorsHeader header = read_safetensors_header(MemoryFile(content), budget);
  EXPECT_GT(budget.used(), static_cast<int64_t>(2 * sizeof(SafetensorsEntry)));
  EXPECT_LT(budget.used(), 1000);
  MemoryBudget small(9'000);
  try {
    read_safetensors_header(MemoryFile(content), small);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUsage);
  }
  EXPECT_EQ(small.used(), 0);
}

// Texts that need ever more memory during parsing stop at the budget.
TEST(Safetensors, HostileGrowthStopsAtTheBudget) {
  std::string metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 50'000; ++i) metadata += fmt::format("\"{}\":\"\",", i);
  metadata.back() = '}';
  MemoryBudget budget(2 << 20);
  EXPECT_THROW(read_safetensors_header(MemoryFile(file_of(metadata + "}", 0)), budget), Error);
  EXPECT_EQ(budget.used(), 0);
}

TEST(Safetensors, RawHeaderIsVerbatimAndFitsTheBudget) {
  MemoryBudget budget(1 << 20);
  const std::string content = file_of(kSmall, 16);
  EXPECT_EQ(read_raw_safetensors_header(MemoryFile(content), budget),
            content.substr(0, content.size() - 16));
  EXPECT_EQ(budget.used(), 0);
  MemoryBudget small(static_cast<int64_t>(content.size() - 17));
  EXPECT_THROW(read_raw_safetensors_header(MemoryFile(content), small), Error);
  EXPECT_THROW(read_raw_safetensors_header(MemoryFile(length_bytes(1u << 31)), budget), Error);
}

TEST(Safetensors, HundredThousandTensorsAreNotQuadratic) {
  const auto read = [](int count) {
    std::vector<SafetensorsEntry> entries;
    for (int i = 0; i < count; ++i) {
      entries.push_back(
          {fmt::format("model.layers.{}.mlp.experts.{}.down_proj.weight", i % 61, i / 61),
           Dtype::kBF16,
           {2, 2},
           8 * i,
           8 * (i + 1)});
    }
    const std::string text = make_safetensors_header(entries, {{"format", "pt"}});
    const SafetensorsHeader header =
        parse_safetensors_header(std::string_view(text).substr(8), 8 * count);
    EXPECT_EQ(header.entries.size(), entries.size());
    EXPECT_EQ(header.entries[count / 2].name, entries[count / 2].name);
  };
  EXPECT_LT(growth_over_ten(10'000, read), kLinearGrowth);
}

// The header that safetensors 0.8.0 (Python) wrote for 17 tensors of all its element types, whose
// names were given in another order.
const char* const kReferenceHeader =
    R"({"__metadata__":{"format":"pt"},"a.u64":{"dtype":"U64","shape":[1],"data_offsets":[0,8]},)"
    R"("a.i64":{"dtype":"I64","shape":[2,1],"data_offsets":[8,24]},)"
    R"("a.f64":{"dtype":"F64","shape":[1],"data_offsets":[24,32]},)"
    R"("Z.f32":{"dtype":"F32","shape":[1],"data_offsets":[32,36]},)"
    R"("empty":{"dtype":"F32","shape":[0,4],"data_offsets":[36,36]},)"
    R"("m.f32":{"dtype":"F32","shape":[2,3],"data_offsets":[36,60]},)"
    R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[60,64]},)"
    "\"\xc3\xa9\\\"\\\\\\n\\u0001/"
    "\x7f\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[64,68]},"
    R"("a.u32":{"dtype":"U32","shape":[1],"data_offsets":[68,72]},)"
    R"("a.i32":{"dtype":"I32","shape":[1],"data_offsets":[72,76]},)"
    R"("m.bf16":{"dtype":"BF16","shape":[2,2],"data_offsets":[76,84]},)"
    R"("c.f16":{"dtype":"F16","shape":[1],"data_offsets":[84,86]},)"
    R"("a.u16":{"dtype":"U16","shape":[1],"data_offsets":[86,88]},)"
    R"("a.i16":{"dtype":"I16","shape":[1],"data_offsets":[88,90]},)"
    R"("a.i8":{"dtype":"I8","shape":[5],"data_offsets":[90,95]},)"
    R"("z.u8":{"dtype":"U8","shape":[3],"data_offsets":[95,98]},)"
    R"("b.bool":{"dtype":"BOOL","shape":[2],"data_offsets":[98,100]}}    )";

TEST(SafetensorsWriter, ReproducesTheReferenceWriter) {
  std::string reference = kReferenceHeader;
  ASSERT_EQ(reference.size(), 1056u);  // the reference's length field
  const SafetensorsHeader header = parse_safetensors_header(reference, 100);
  EXPECT_EQ(make_safetensors_header(header.entries, header.metadata),
            length_bytes(1056) + reference);
}

TEST(SafetensorsWriter, OrderIsTheReferenceWriters) {
  const SafetensorsHeader header = parse_safetensors_header(kReferenceHeader, 100);
  std::vector<SafetensorsEntry> shuffled = header.entries;
  std::reverse(shuffled.begin(), shuffled.end());
  std::swap(shuffled[3], shuffled[11]);
  std::vector<std::string> names;
  for (const size_t i : safetensors_order(shuffled)) names.push_back(shuffled[i].name);
  std::vector<std::string> expected;
  for (const SafetensorsEntry& e : header.entries) expected.push_back(e.name);
  EXPECT_EQ(names, expected);
}

TEST(SafetensorsWriter, SmallHeadersAreTheReferenceWriters) {
  EXPECT_EQ(make_safetensors_header({}, {}), length_bytes(8) + "{}      ");
  EXPECT_EQ(make_safetensors_header({}, {{"format", "pt"}}),
            length_bytes(32) + R"({"__metadata__":{"format":"pt"}})");
  EXPECT_EQ(
      make_safetensors_header({{"x", Dtype::kF32, {2, 3}, 0, 24}}, {}),
      length_bytes(64) + R"({"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}       )");
}

TEST(SafetensorsWriter, HeaderAboveTheCapIsRefused) {
  const std::vector<SafetensorsEntry> entries = {
      {std::string(100'000'001, 'n'), Dtype::kU8, {0}, 0, 0}};
  try {
    make_safetensors_header(entries, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUnsupported);
    EXPECT_NE(e.hint().find("--max-shard-size"), std::string::npos);
  }
}

// Tests files that transformers' save_pretrained wrote.
class SafetensorsFixture : public testing::TestWithParam<const char*> {};

TEST_P(SafetensorsFixture, HeaderIsReproducedByteForByte) {
  const std::unique_ptr<File> file =
      real_file_system().open_read(Path(data_dir()) / "bridge_written" / GetParam());
  MemoryBudget budget(1 << 26);
  const SafetensorsHeader header = read_safetensors_header(*file, budget);
  EXPECT_GT(header.entries.size(), 10u);
  EXPECT_EQ(header.payload_offset + header.payload_size, file->size());
  EXPECT_EQ(make_safetensors_header(header.entries, header.metadata),
            read_raw_safetensors_header(*file, budget));
  const std::vector<size_t> order = safetensors_order(header.entries);
  for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
}

INSTANTIATE_TEST_SUITE_P(BridgeWritten, SafetensorsFixture,
                         testing::Values("qwen3_dense/hf/model-00001-of-00001.safetensors",
                                         "llama_tied/hf/model.safetensors"),
                         [](const auto& test) { return std::string(test.param).substr(0, 5); });

}  // namespace
}  // namespace bridge
