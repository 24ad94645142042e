// Quantized elements against torch: every form of the codec gives the values, codes and scales of
// data/torch_codecs (made by make_expected.py there). A NaN is equal to any other.
#include <gtest/gtest.h>

#include <map>

#include "bridge/io/hf/safetensors.h"
#include "tests/io/file/memory_file.h"
#include "tests/io/number/block_codec_model.h"

namespace bridge {
namespace {

struct Tensor {
  Dtype dtype;
  Shape shape;
  std::span<const std::byte> bytes;

  std::span<const std::byte> row(size_t i) const {
    const size_t size = bytes.size() / static_cast<size_t>(shape[0]);
    return bytes.subspan(i * size, size);
  }
};

class Expected {
 public:
  Expected() : file_(read_data("torch_codecs/expected.safetensors")) {
    MemoryBudget budget(1 << 24);
    const SafetensorsHeader header = read_safetensors_header(MemoryFile(file_), budget);
    const auto payload =
        std::as_bytes(std::span(file_)).subspan(static_cast<size_t>(header.payload_offset));
    for (const SafetensorsEntry& entry : header.entries) {
      tensors_[entry.name] = {entry.dtype, entry.shape,
                              payload.subspan(static_cast<size_t>(entry.begin),
                                              static_cast<size_t>(entry.end - entry.begin))};
    }
  }

  const Tensor& operator[](const std::string& name) const { return tensors_.at(name); }

 private:
  std::string file_;
  std::map<std::string, Tensor> tensors_;
};

const Expected& torch_says() {
  static const Expected expected;
  return expected;
}

void expect_same_values(std::span<const std::byte> actual, std::span<const std::byte> expected,
                        Dtype dtype, const std::string& what) {
  const std::vector<float> ours = widened(actual, dtype);
  const std::vector<float> theirs = widened(expected, dtype);
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    if (std::isnan(theirs[i])) {
      ASSERT_TRUE(std::isnan(ours[i])) << what << " code " << i;
    } else {
      ASSERT_EQ(bits(ours[i]), bits(theirs[i])) << what << " code " << i;
    }
  }
}

class BlockCodecTorch : public testing::TestWithParam<NamedCodec> {
 protected:
  const BlockCodec& codec() const { return *GetParam().codec; }

  // Every scale times every code, into each type that torch was asked for.
  void expect_products(const std::string& name, const ModelFormat& format, Dtype scale_dtype,
                       std::span<const std::byte> scales, std::vector<std::string> types) const {
    std::vector<int> codes;
    for (int code = 0; code < format.codes(); ++code) codes.push_back(code);
    const size_t scale_size = static_cast<size_t>(bits_of(scale_dtype)) / 8;
    for (const std::string& type : types) {
      const Tensor& expected = torch_says()[name + "." + type];
      for (size_t i = 0; i < scales.size() / scale_size; ++i) {
        const float scale = load_scale(scale_dtype, &scales[i * scale_size]);
        const auto values = Runner{codec(), format}.dequantize(codes, scale, expected.dtype);
        expect_same_values(values, expected.row(i), expected.dtype,
                           name + "." + type + " scale " + std::to_string(i));
        if (HasFatalFailure()) return;
      }
    }
  }

  std::vector<int> quantized(const Tensor& values, size_t row, float scale) const {
    return Runner{codec(), kFp8}.quantize(values.row(row), scale, values.dtype);
  }
};

TEST_P(BlockCodecTorch, EveryFp8CodeTimesEveryE8m0Scale) {
  std::vector<std::byte> scales;
  for (int i = 0; i < 256; ++i) scales.push_back(static_cast<std::byte>(i));
  expect_products("e4m3_by_e8m0", kFp8, Dtype::kF8E8M0, scales, {"bf16", "f32"});
  expect_products("e2m1_by_e8m0", kFp4, Dtype::kF8E8M0, scales, {"bf16", "f16", "f32"});
}

// Byte 255 has no float value, so a conversion refuses it.
TEST_P(BlockCodecTorch, EveryMxfp4CodeTimesEveryScale) {
  std::vector<std::byte> scales;
  for (int i = 0; i < 255; ++i) scales.push_back(static_cast<std::byte>(i));
  expect_products("mxfp4", kFp4, Dtype::kU8, scales, {"bf16"});
}

TEST_P(BlockCodecTorch, QuantizesMxfp4BlocksWithNewScales) {
  const Tensor& blocks = torch_says()["mxfp4.blocks"];
  const Tensor& scales = torch_says()["mxfp4.scales"];
  const Tensor& codes = torch_says()["mxfp4.codes"];
  for (size_t i = 0; i < static_cast<size_t>(blocks.shape[0]); ++i) {
    const float scale =
        new_scale(Dtype::kF4E2M1, Dtype::kU8, codec().amax(blocks.dtype, blocks.row(i)));
    std::byte stored{};
    store_scale(Dtype::kU8, scale, &stored);
    ASSERT_EQ(stored, scales.bytes[i]) << i;
    std::vector<int> expected;
    for (const std::byte code : codes.row(i)) expected.push_back(static_cast<int>(code));
    const auto found = Runner{codec(), kFp4}.quantize(blocks.row(i), scale, blocks.dtype);
    ASSERT_EQ(found, expected) << i;
  }
}

TEST_P(BlockCodecTorch, EveryFp8CodeTimesFloatScales) {
  expect_products("e4m3_by_f32", kFp8, Dtype::kF32, torch_says()["f32_scales"].bytes,
                  {"bf16", "f16", "f32"});
  expect_products("e4m3_by_bf16", kFp8, Dtype::kBF16, torch_says()["bf16_scales"].bytes,
                  {"bf16", "f32"});
}

TEST_P(BlockCodecTorch, CodesAndScalesAlone) {
  std::vector<int> codes;
  for (int code = 0; code < 256; ++code) codes.push_back(code);
  const auto values = Runner{codec(), kFp8}.dequantize(codes, 1.0f, Dtype::kF32);
  expect_same_values(values, torch_says()["e4m3.f32"].bytes, Dtype::kF32, "e4m3");
  std::vector<float> scales;
  for (int i = 0; i < 256; ++i) {
    const auto byte = static_cast<std::byte>(i);
    scales.push_back(load_scale(Dtype::kF8E8M0, &byte));
  }
  expect_same_values(std::as_bytes(std::span(scales)), torch_says()["e8m0.f32"].bytes, Dtype::kF32,
                     "e8m0");
}

TEST_P(BlockCodecTorch, RoundsToFp8) {
  const Tensor& in = torch_says()["round.in"];
  const auto codes = Runner{codec(), kFp8}.quantize(in.bytes, 1.0f, Dtype::kF32);
  const auto expected = unpacked(kFp8, torch_says()["round.out"].bytes);
  const std::vector<float> values = widened(in.bytes, Dtype::kF32);
  ASSERT_EQ(codes.size(), expected.size());
  for (size_t i = 0; i < codes.size(); ++i) ASSERT_EQ(codes[i], expected[i]) << values[i];
}

TEST_P(BlockCodecTorch, QuantizesBlocksWithNewScales) {
  const Tensor& blocks = torch_says()["blocks"];
  for (const auto& [name, dtype] : {std::pair("f32", Dtype::kF32), {"bf16", Dtype::kBF16}}) {
    const std::string prefix = std::string("blocks.") + name;
    const Tensor& scales = torch_says()[prefix + "_scales"];
    const Tensor& codes = torch_says()[prefix + "_codes"];
    for (size_t i = 0; i < static_cast<size_t>(blocks.shape[0]); ++i) {
      const float scale =
          new_scale(Dtype::kF8E4M3, dtype, codec().amax(blocks.dtype, blocks.row(i)));
      ASSERT_EQ(bits(scale), bits(load_scale(dtype, scales.row(i).data()))) << prefix << i;
      ASSERT_EQ(quantized(blocks, i, scale), unpacked(kFp8, codes.row(i))) << prefix << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, BlockCodecTorch, testing::ValuesIn(every_codec()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
