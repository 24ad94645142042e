// Exports of a matrix with one scale that is larger than the memory for it: it is read in pieces,
// twice, and gives the bytes that it gives where it fits.
#include <cmath>
#include <cstring>
#include <random>

#include "tests/convert/own_table.h"

namespace bridge {
namespace {

constexpr const char* kTable = R"({
  "architectures": ["TinyWhole"],
  "dims": {"rows": "1001", "columns": "1024"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "1"}},
  "quantization": [
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "per": "tensor", "scale_dtypes": ["F32"]}
  ],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [7, columns]"],
    ["output_layer.weight", "copy", "head.weight [7, columns]"],
    ["{L}.self_attention.linear_proj.weight", "copy", "{H}.o.weight [rows, columns]"]
  ],
  "megatron_config": {"num_layers": "1", "hidden_size": "columns", "num_attention_heads": "1", "vocab_size": "7"}
})";

constexpr int64_t kRows = 1001;
constexpr int64_t kColumns = 1024;
constexpr int64_t kRoomy = 64 << 20;
// Less than the four buffers of the matrix's 2 MiB, which a matrix in one piece needs.
constexpr int64_t kSmall = 5 << 20;
const std::string kProj = "decoder.layers.self_attention.linear_proj.weight";

class LargeBlock : public OwnTableTest {
 protected:
  LargeBlock() : OwnTableTest(kTable) {}

  void convert(float scale) {
    std::mt19937 random(5);
    std::string codes(static_cast<size_t>(kRows * kColumns), '\0');
    for (char& code : codes) {
      do {
        code = static_cast<char>(random());
      } while ((code & 0x7f) == 0x7f);  // not a number
    }
    std::string bytes(4, '\0');
    std::memcpy(bytes.data(), &scale, 4);
    const std::string plain(static_cast<size_t>(2 * 7 * kColumns), '\x3c');
    write_hf_folder(dir_ / "source",
                    {{"architectures", {"TinyWhole"}},
                     {"torch_dtype", "bfloat16"},
                     {"quantization_config", {{"quant_method", "any"}}}},
                    {{"layers.0.o.weight_scale", Dtype::kF32, {}, bytes},
                     {"layers.0.o.weight", Dtype::kF8E4M3, {kRows, kColumns}, codes},
                     {"embed.weight", Dtype::kBF16, {7, kColumns}, plain},
                     {"head.weight", Dtype::kBF16, {7, kColumns}, plain}},
                    1);
    convert_hf(fs_, convert_options("megatron", 2, kRoomy));
  }

  void set(int64_t row, uint16_t bf16) {
    edit_item(dir_ / "megatron", kProj, 0, [&](std::string& data) {
      std::memcpy(&data[static_cast<size_t>(2 * (row * kColumns + 3))], &bf16, 2);
    });
  }

  // Exports with much memory and with little; the files must be the same. Returns the counts.
  nlohmann::ordered_json both() {
    const auto roomy = export_again("megatron", "roomy", 1, kRoomy).json["blocks"];
    for (const int threads : {1, 3}) {
      std::filesystem::remove_all(dir_ / "small");
      EXPECT_EQ(export_again("megatron", "small", threads, kSmall).json["blocks"], roomy);
      EXPECT_EQ(difference("roomy", "small"), "");
    }
    return roomy;
  }
};

TEST_F(LargeBlock, KeepsItsScale) {
  convert(0.001F);
  EXPECT_EQ(both()["kept"], 1);
  EXPECT_EQ(difference("source", "small"), "");
}

TEST_F(LargeBlock, GetsANewScaleForAValueAnywhere) {
  for (const int64_t row : {int64_t{0}, int64_t{500}, kRows - 1}) {
    for (const char* folder : {"source", "megatron", "roomy"}) {
      std::filesystem::remove_all(dir_ / folder);
    }
    convert(0.001F);
    set(row, 0x42c8);  // 100, the largest
    const auto counts = both();
    EXPECT_EQ(counts["new"], 1);
    EXPECT_EQ(counts["clipped"], 0);
    const std::string& scale = hf_tensors(dir_ / "small").at("layers.0.o.weight_scale");
    float found = 0;
    std::memcpy(&found, scale.data() + scale.size() - 4, 4);
    EXPECT_EQ(found, 100.0F / 448);
  }
}

// Codes with one value under such a scale come back from witnesses.
TEST_F(LargeBlock, OddScalesComeBack) {
  convert(0.0F);
  EXPECT_EQ(both()["kept"], 1);
  EXPECT_EQ(difference("source", "small"), "");
}

TEST_F(LargeBlock, WhatIsNotFiniteIsRefusedByItsRow) {
  convert(0.001F);
  set(700, 0x7f80);  // infinity
  for (const int64_t memory : {kRoomy, kSmall}) {
    expect_error(Code::kBadInput, "a value in row 700 is not finite",
                 [&] { export_again("megatron", "damaged", 1, memory); });
  }
}

}  // namespace
}  // namespace bridge
