// Tests --dtype: the conversion keeps what a cast loses as witnesses, so that an export restores
// the source bit for bit. A weight that training has changed since wins over its witness.
#include <gtest/gtest.h>

#include <cstring>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

// F32 values of every kind: quiet and signalling NaNs with payloads; zeros, subnormals, infinities;
// values that BF16 holds, halves between two of its values, and any others. No value rounds to
// infinity.
std::function<std::string(size_t)> any_floats(unsigned seed) {
  return [random = std::mt19937(seed)](size_t size) mutable {
    static constexpr uint32_t kSpecial[] = {
        0x80000000, 0x00000001, 0x807fffff, 0x7fc00001, 0xff800001, 0x7fbfffff, 0x7f800000,
        0xff800000, 0x3f800001, 0x3f808000, 0x3f818000, 0x3f800000, 0x00000000, 0xffffffff};
    std::string bytes(size, '\0');
    for (size_t at = 0; at < size; at += 4) {
      auto bits = static_cast<uint32_t>(random());
      if (random() % 3 == 0) bits = kSpecial[random() % std::size(kSpecial)];
      if (random() % 3 == 0) bits &= 0xffff0000;  // exact in BF16
      if ((bits >> 23 & 0xff) == 0xfe) bits ^= 1U << 30;
      std::memcpy(&bytes[at], &bits, 4);
    }
    return bytes;
  };
}

class CastTest : public testing::Test {
 protected:
  Path write_source(Dtype dtype, const std::string& name,
                    const std::function<std::string(size_t)>& bytes, TinySize size = {}) {
    write_hf_folder(dir_ / "source", tiny_config(2, false, name, size),
                    tiny_tensors(2, false, dtype, bytes, size));
    return dir_ / "source";
  }

  void convert(const Path& target, Dtype dtype, int threads = 1) {
    auto options = run_options<ConvertOptions>(dir_ / "source", target);
    options.dtype = dtype;
    options.threads = threads;
    options.memory = 2 << 20;  // small slices
    convert_hf(fs_, options);
  }

  void export_again(const Path& source, const Path& target, std::optional<Dtype> dtype = {},
                    int threads = 1) {
    auto options = run_options<ExportOptions>(source, target);
    options.dtype = dtype;
    options.threads = threads;
    options.memory = 2 << 20;
    export_to_hf(fs_, options);
  }

  std::string difference(const char* a, const char* b) {
    return first_difference(tree(dir_ / a), tree(dir_ / b));
  }

  TempDir dir_;
  FastFileSystem fs_;
};

TEST_F(CastTest, Bf16ThroughFp32ComesBack) {
  write_source(Dtype::kBF16, "bfloat16", random_bytes(5));
  convert(dir_ / "megatron", Dtype::kF32);
  EXPECT_EQ(open_checkpoint(dir_ / "megatron").find("output_layer.weight")->dtype, Dtype::kF32);
  export_again(dir_ / "megatron", dir_ / "hf");
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(CastTest, Fp32ThroughBf16ComesBack) {
  write_source(Dtype::kF32, "float32", any_floats(6), kWide);
  convert(dir_ / "one", Dtype::kBF16, 1);
  convert(dir_ / "four", Dtype::kBF16, 4);
  EXPECT_EQ(difference("one", "four"), "") << "witnesses too are the same for any threads";
  EXPECT_EQ(open_checkpoint(dir_ / "one").find("output_layer.weight")->dtype, Dtype::kBF16);
  EXPECT_GT(std::filesystem::file_size(dir_ / "one/causeway/witnesses.bin"), 100'000U);
  export_again(dir_ / "one", dir_ / "hf");
  EXPECT_EQ(difference("source", "hf"), "");
  export_again(dir_ / "four", dir_ / "hf4", {}, 4);
  EXPECT_EQ(difference("source", "hf4"), "");
}

// Each tensor returns to its own dtype: norms in F32 beside BF16 weights, as in some releases.
TEST_F(CastTest, SeveralDtypesInOneSource) {
  auto tensors = tiny_tensors(2, false, Dtype::kBF16, random_bytes(12));
  for (NamedTensor& tensor : tensors) {
    if (!tensor.name.ends_with("norm.weight")) continue;
    tensor.dtype = Dtype::kF32;
    tensor.bytes = any_floats(13)(32);
  }
  write_hf_folder(dir_ / "source", tiny_config(2, false, "bfloat16"), tensors, 3);
  convert_hf(fs_, run_options<ConvertOptions>(dir_ / "source", dir_ / "as_it_is"));
  export_again(dir_ / "as_it_is", dir_ / "hf");
  EXPECT_EQ(difference("source", "hf"), "");
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF32}) {
    const std::string name(safetensors_name(dtype));
    convert(dir_ / ("megatron" + name), dtype, 4);
    export_again(dir_ / ("megatron" + name), dir_ / ("hf" + name), {}, 4);
    EXPECT_EQ(difference("source", ("hf" + name).c_str()), "");
  }
}

// Values that BF16 holds exactly need no witness.
TEST_F(CastTest, ExactValuesHaveNoWitnesses) {
  write_source(Dtype::kF32, "float32", [](size_t size) {
    std::string bytes(size, '\0');
    for (size_t at = 0; at < size; at += 4) bytes[at + 3] = 0x3f;
    return bytes;
  });
  convert(dir_ / "megatron", Dtype::kBF16);
  EXPECT_EQ(file_content(dir_ / "megatron/causeway/witnesses.bin"), "CSWYWIT1");
  export_again(dir_ / "megatron", dir_ / "hf");
  EXPECT_EQ(difference("source", "hf"), "");
}

// The copy of tied embeddings that some releases carry lost the same bits as its original.
TEST_F(CastTest, ATiedOutputLayerComesBackToo) {
  auto tensors = tiny_tensors(2, true, Dtype::kF32, any_floats(7));
  tensors.push_back({"lm_head.weight", Dtype::kF32, {10, 8}, tensors[0].bytes});
  write_hf_folder(dir_ / "source", tiny_config(2, true, "float32"), tensors, 2);
  convert(dir_ / "megatron", Dtype::kBF16);
  export_again(dir_ / "megatron", dir_ / "hf");
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(CastTest, AChangedWeightWins) {
  write_source(Dtype::kF32, "float32", any_floats(8));
  convert(dir_ / "megatron", Dtype::kBF16);
  uint32_t changed = 0;
  const size_t number = 2 * 6 + 3;  // row 2, column 3 of down_proj [8, 6], layer 1
  edit_item(dir_ / "megatron", "decoder.layers.mlp.linear_fc2.weight", 1, [&](std::string& data) {
    data[2 * number] = static_cast<char>(data[2 * number] ^ 1);
    uint16_t half = 0;
    std::memcpy(&half, &data[2 * number], 2);
    changed = static_cast<uint32_t>(half) << 16;
  });
  export_again(dir_ / "megatron", dir_ / "hf");
  auto expected = hf_tensors(dir_ / "source");
  std::string& down = expected.at("model.layers.1.mlp.down_proj.weight");
  std::memcpy(&down[std::strlen("F32 [8, 6] ") + 4 * number], &changed, 4);
  const auto found = hf_tensors(dir_ / "hf");
  EXPECT_FALSE(found == hf_tensors(dir_ / "source"));
  EXPECT_TRUE(found == expected);
}

TEST_F(CastTest, OverflowStops) {
  write_source(Dtype::kF32, "float32", any_floats(9));
  for (const int threads : {1, 4}) {
    expect_error(Code::kBadInput, "values are too large for F16",
                 [&] { convert(dir_ / "megatron", Dtype::kF16, threads); });
    EXPECT_EQ(fs_.list(dir_.path()), std::vector<std::string>{"source"});
  }
}

// The largest values of F16 round to values that F16 does not hold; they come back unless they
// change.
TEST_F(CastTest, Fp16ThroughBf16ComesBack) {
  write_source(Dtype::kF16, "float16", [](size_t size) {
    static constexpr uint16_t kValues[] = {0x7bff, 0xfbff, 0x7c00, 0x3c01, 0x7bf0, 0x7e01};
    std::string bytes(size, '\0');
    for (size_t at = 0; at < size; at += 2) {
      std::memcpy(&bytes[at], &kValues[at / 2 % std::size(kValues)], 2);
    }
    return bytes;
  });
  convert(dir_ / "megatron", Dtype::kBF16);
  export_again(dir_ / "megatron", dir_ / "hf");
  EXPECT_EQ(difference("source", "hf"), "");

  edit_item(dir_ / "megatron", "decoder.layers.mlp.linear_fc2.weight", 1, [](std::string& data) {
    const uint16_t large = 0x4f00;  // 2^31
    std::memcpy(&data[0], &large, 2);
  });
  expect_error(Code::kBadInput, "down_proj.weight: 1 of 48 values would change from BF16 to F16",
               [&] { export_again(dir_ / "megatron", dir_ / "changed"); });
}

// An export in another dtype changes only that entry of config.json.
TEST_F(CastTest, OnlyTheDtypeOfTheConfigurationChanges) {
  write_source(Dtype::kBF16, "bfloat16", random_bytes(5));
  auto options = run_options<ConvertOptions>(dir_ / "source", dir_ / "megatron");
  convert_hf(fs_, options);
  export_again(dir_ / "megatron", dir_ / "same", Dtype::kBF16);
  EXPECT_EQ(difference("source", "same"), "");

  export_again(dir_ / "megatron", dir_ / "hf", Dtype::kF32);
  auto expected = nlohmann::ordered_json::parse(file_content(dir_ / "source/config.json"));
  expected["torch_dtype"] = "float32";
  EXPECT_EQ(file_content(dir_ / "hf/config.json"), expected.dump(2) + "\n");
  const auto source = hf_tensors(dir_ / "source");
  for (const auto& [name, text] : hf_tensors(dir_ / "hf")) {
    EXPECT_EQ(text.substr(0, 4), "F32 ") << name;
    EXPECT_TRUE(source.contains(name)) << name;
  }
}

}  // namespace
}  // namespace bridge
