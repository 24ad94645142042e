// Converts FP4 codes, two in a byte of I8, with an E8M0 scale for each 32 in a row, with convert-hf
// and back. The values equal those of a plain independent decoder in this test, every byte comes
// back, and what does not fit is refused.
//
// Truth: OCP Microscaling Formats 1.0 for e2m1 and e8m0; the even column lies in the low four bits,
// as in inference/convert.py of the DeepSeek-V4 release.
#include <cmath>

#include "tests/convert/float_codes.h"
#include "tests/convert/packed_model.h"

namespace bridge {
namespace {

// --- values and codes ---------------------------------------------------------------------------

TEST_F(PackedTest, ValuesAreCodesTimesTheirBlocksScale) {
  auto source = tensors(kSmall, true);
  std::string& scales = source[1].bytes;
  for (const size_t number : {0, 4, 8}) scales[number] = '\x00';  // 2^-127
  scales[5] = '\xff';                                             // not a number
  std::string& codes = source[2].bytes;
  for (size_t i = 0; i < 256; ++i) codes[i] = static_cast<char>(i);
  write(kSmall, source);
  convert("megatron");
  const std::string found = payload("megatron", kProj);
  ASSERT_EQ(found.size(), static_cast<size_t>(2 * kSmall.rows * kSmall.columns));
  for (size_t i = 0; i < found.size() / 2; ++i) {
    const size_t row = i / 70;
    const size_t column = i % 70;
    const int code = static_cast<uint8_t>(codes[i / 2]) >> (i % 2 * 4) & 15;
    const float scale = e8m0(scales[row * 3 + column / 32]);
    const float value = float_at(found, i);
    if (std::isnan(scale)) {
      EXPECT_TRUE(std::isnan(value)) << row << ", " << column;
    } else {
      EXPECT_EQ(value, e2m1(code) * scale) << row << ", " << column;
      EXPECT_EQ(std::signbit(value), (code & 8) != 0) << row << ", " << column;
    }
  }
}

class PackedTripTest : public PackedTest, public testing::WithParamInterface<Size> {};

TEST_P(PackedTripTest, GivesTheSameFiles) {
  const Size size = GetParam();
  for (const bool ordinary : {true, false}) {
    SCOPED_TRACE(ordinary ? "ordinary scales" : "scales of every kind");
    write(size, tensors(size, ordinary));
    for (const char* folder : {"one", "four"}) std::filesystem::remove_all(dir_ / folder);
    convert("one");
    convert("four", 4, 4 << 20);
    expect_one_and_four();
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PackedTripTest,
                         testing::Values(kSmall, Size{1, 2}, Size{3, 32}, Size{2, 34},
                                         Size{50, 128}, Size{3, 9000}, Size{700, 64}),
                         [](const auto& test) {
                           return std::to_string(test.param.rows) + "x" +
                                  std::to_string(test.param.columns);
                         });

// A tile is cut when memory is short; the bytes stay the same.
TEST_F(PackedTest, LittleMemory) {
  const Size size{260, 3000};
  write(size, tensors(size, true));
  convert("megatron", 1, 400 << 10);
  for (const int64_t memory : {400 << 10, 700 << 10, 2 << 20, 32 << 20}) {
    std::filesystem::remove_all(dir_ / "hf");
    export_again("megatron", "hf", memory < (2 << 20) ? 1 : 4, memory);
    EXPECT_EQ(difference("source", "hf"), "") << memory;
  }
}

TEST_F(PackedTest, ThroughF32AndF16Too) {
  auto source = tensors(kSmall, true);
  write(kSmall, source);
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16}) {
    const std::string name(safetensors_name(dtype));
    convert(name, 1, 64 << 20, dtype);
    EXPECT_EQ(open_checkpoint(dir_ / name).find(kProj)->dtype, dtype);
    EXPECT_EQ(open_checkpoint(dir_ / name).find(kIds)->dtype, Dtype::kI32);
    export_again(name, "hf" + name);
    EXPECT_EQ(difference("source", "hf" + name), "");
  }
}

// The smallest power of two that does not clip 7 is 2: 3.5 lies between the codes 3 and 4, and 4 is
// the even one.
TEST_F(PackedTest, AChangedValueCostsItsBlockOnly) {
  auto source = tensors(kSmall, true);
  for (size_t i = 0; i < 35; ++i) source[2].bytes[i] = '\x22';
  for (size_t i = 0; i < 3; ++i) source[1].bytes[i] = '\x7f';
  write(kSmall, source);
  convert("megatron");
  const uint16_t seven = 0x40e0;
  edit_item(dir_ / "megatron", kProj, 0,
            [&](std::string& data) { std::memcpy(&data[2 * 33], &seven, 2); });
  EXPECT_EQ(export_again("megatron", "hf").json["blocks"]["new"], 1);
  source[1].bytes[1] = '\x80';
  for (size_t i = 16; i < 32; ++i) source[2].bytes[i] = '\x11';
  source[2].bytes[16] = '\x61';
  write(kSmall, source);
  EXPECT_EQ(difference("source", "hf"), "");
}

// --- refusals -----------------------------------------------------------------------------------

struct BadSource {
  std::string name;
  std::function<void(std::vector<NamedTensor>&)> edit;
  std::string message;
};

class PackedRefusalTest : public PackedTest, public testing::WithParamInterface<BadSource> {};

TEST_P(PackedRefusalTest, IsBadInput) {
  auto source = tensors(kSmall, true);
  GetParam().edit(source);
  write(kSmall, source);
  expect_error(Code::kBadInput, GetParam().message, [&] { convert("megatron"); });
}

const BadSource kBadSources[] = {
    {"NoScales", [](auto& t) { t.erase(t.begin() + 1); },
     "layers.0.o.weight: I8 without its scales layers.0.o.scale"},
    {"ScalesOfAPlainTensor",
     [](auto& t) {
       t.push_back(t[1]);
       t.back().name = "embed.scale";
     },
     "1 unknown (embed.scale)"},
    {"NotPacked",
     [](auto& t) {
       t[2].shape = {9, 70};
       t[2].bytes.resize(630);
     },
     "layers.0.o.weight: shape [9, 70]"},
    {"ScalesOf16",
     [](auto& t) {
       t[1].shape = {9, 5};
       t[1].bytes.resize(45);
     },
     "layers.0.o.scale: shape [9, 5], blocks of 1 x 32 of [9, 70] need [9, 3]"},
    {"FloatScales",
     [](auto& t) {
       t[1].dtype = Dtype::kF32;
       t[1].bytes.resize(108);
     },
     "layers.0.o.scale: dtype F32 is not one the table allows for scales"},
    {"UnsignedBytes", [](auto& t) { t[2].dtype = Dtype::kU8; }, "layers.0.o.weight"},
    {"PackedVector",
     [](auto& t) {
       t[t.size() - 2].dtype = Dtype::kI8;
       t[t.size() - 2].bytes.resize(6);
     },
     "layers.0.hyper_scale"},
    {"FloatIds",
     [](auto& t) {
       t.back().dtype = Dtype::kF32;
       t.back().bytes.resize(56);
     },
     "layers.0.tid2eid: dtype F32 is not one the table allows here"},
};
INSTANTIATE_TEST_SUITE_P(Sources, PackedRefusalTest, testing::ValuesIn(kBadSources),
                         [](const auto& test) { return test.param.name; });

// Two elements share a byte, so a row of 71 does not fill whole bytes.
TEST_F(PackedTest, OddColumnsAreRefused) {
  for (const int64_t stored : {35, 36}) {
    auto source = tensors({9, 71}, true);
    for (NamedTensor& tensor : source) {
      if (tensor.dtype != Dtype::kI8) continue;
      tensor.shape[1] = stored;
      tensor.bytes.resize(static_cast<size_t>(tensor.shape[0] * stored));
    }
    write({9, 71}, source);
    expect_error(Code::kBadInput, "layers.0.o.weight: shape [9, " + std::to_string(stored) + "]",
                 [&] { convert("megatron"); });
  }
}

}  // namespace
}  // namespace bridge
