// Converts MXFP4 as gpt-oss has it with convert-hf and back: F4 codes, two in a byte of U8, whose
// blocks of 32 columns are an axis, and U8 exponents of their scales. The values equal those of a
// plain decoder in this test, every byte comes back, trained blocks are quantized by the owner's
// rule, and --dtype writes the matrices that they stand for.
//
// Truth: transformers' integrations/mxfp4.py (convert_moe_packed_tensors) for values and axes;
// triton_kernels' downcast_to_mxfp_torch for new scales and codes.
#include <cmath>

#include "tests/convert/float_codes.h"
#include "tests/convert/own_table.h"

namespace bridge {
namespace {

constexpr const char* kTable = R"({
  "architectures": ["TinyMxfp4"],
  "values": {"packed": "quantization_config != null && keep_quantized"},
  "dims": {"hidden": "64", "ffn": "32", "experts": "3"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "1"}},
  "quantization": [{"dtype": "F4", "stored": "U8", "weight": "_blocks", "scale": "_scales",
    "block": ["1", "32"], "scale_dtypes": ["U8"]}],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [7, hidden]"],
    ["{L}.fc1.weight", "deinterleave_rows", "{H}.gate_up_blocks [experts, 2 * ffn, hidden]",
      {"when": "packed", "groups": "2", "chunks": ["experts", "2"]}],
    ["{L}.fc1.weight", "transpose_deinterleave", "{H}.gate_up [experts, hidden, 2 * ffn]",
      {"when": "!packed", "groups": "2", "chunks": ["experts", "2"]}],
    ["{L}.fc2.weight", "copy", "{H}.down_blocks [experts, hidden, ffn]", {"when": "packed"}],
    ["{L}.fc2.weight", "transpose", "{H}.down [experts, ffn, hidden]", {"when": "!packed"}]
  ],
  "megatron_config": {"num_layers": "1", "hidden_size": "hidden", "num_attention_heads": "1",
    "vocab_size": "7"}
})";

constexpr int64_t kExperts = 3;
constexpr int64_t kHidden = 64;
constexpr int64_t kFfn = 32;
const std::string kFc1 = "decoder.layers.fc1.weight";

class Mxfp4Test : public OwnTableTest {
 protected:
  Mxfp4Test() : OwnTableTest(kTable) {
    add("layers.0.gate_up", 2 * kFfn, kHidden);
    add("layers.0.down", kHidden, kFfn);
    source_.push_back(
        {"embed.weight", Dtype::kBF16, {7, kHidden}, std::string(14 * kHidden, '\x3c')});
  }

  // Scales of every kind, but for those with products beyond BF16.
  void add(const std::string& name, int64_t rows, int64_t columns) {
    const Shape grid = {kExperts, rows, columns / 32};
    std::string scales(static_cast<size_t>(element_count(grid)), '\0');
    for (char& scale : scales) scale = static_cast<char>(random_() % 253);
    std::string codes(16 * scales.size(), '\0');
    for (char& code : codes) code = static_cast<char>(random_());
    source_.push_back({name + "_blocks", Dtype::kU8, {grid[0], grid[1], grid[2], 16}, codes});
    source_.push_back({name + "_scales", Dtype::kU8, grid, scales});
  }

  std::string& bytes(const std::string& name) {
    for (NamedTensor& tensor : source_) {
      if (tensor.name == name) return tensor.bytes;
    }
    throw std::logic_error(name);
  }

  // The value of row `row` of all experts' rows.
  float value(const std::string& name, int64_t row, int64_t column, int64_t columns) {
    const auto number = static_cast<size_t>(row * columns + column);
    const int code = static_cast<uint8_t>(bytes(name + "_blocks")[number / 2]);
    return e2m1(column % 2 == 0 ? code & 15 : code >> 4) *
           e8m0(bytes(name + "_scales")[number / 32]);
  }

  void write() {
    std::filesystem::remove_all(dir_ / "source");
    write_hf_folder(dir_ / "source",
                    {{"architectures", {"TinyMxfp4"}},
                     {"torch_dtype", "bfloat16"},
                     {"quantization_config", {{"quant_method", "mxfp4"}}}},
                    source_, 2);
  }

  void convert(const std::string& target, int threads = 1, int64_t memory = 64 << 20) {
    convert_hf(fs_, convert_options(target, threads, memory));
  }

  std::mt19937 random_{3};
  std::vector<NamedTensor> source_;
};

TEST_F(Mxfp4Test, ValuesAreCodesTimesPowersOfTwoAndComeBack) {
  write();
  convert("one");
  for (int64_t expert = 0; expert < kExperts; ++expert) {
    for (int64_t sequence = 0; sequence < 2; ++sequence) {
      const std::string found = payload("one", kFc1, static_cast<size_t>(2 * expert + sequence));
      for (int64_t i = 0; i < kFfn; ++i) {
        for (int64_t column = 0; column < kHidden; ++column) {
          const float expected =
              value("layers.0.gate_up", expert * 2 * kFfn + 2 * i + sequence, column, kHidden);
          const float held = float_at(found, static_cast<size_t>(i * kHidden + column));
          ASSERT_EQ(held, expected) << expert << ", " << sequence << ": " << i << ", " << column;
          ASSERT_EQ(std::signbit(held), std::signbit(expected));
        }
      }
    }
  }
  convert("four", 4, 4 << 20);
  expect_one_and_four();
}

// All ones need a scale of 1/6 or more: 1/4, of which they are 4 times.
TEST_F(Mxfp4Test, ATrainedBlockAloneIsQuantizedAnew) {
  const int64_t block = ((1 * 2 * kFfn + 2 * 4 + 1) * kHidden + 32) / 32;
  bytes("layers.0.gate_up_scales")[static_cast<size_t>(block)] = 110;
  write();
  convert("megatron");
  edit_item(dir_ / "megatron", kFc1, 3, [&](std::string& data) {
    for (int64_t i = 0; i < 32; ++i) {
      data[static_cast<size_t>(2 * (4 * kHidden + 32 + i))] = '\x80';
      data[static_cast<size_t>(2 * (4 * kHidden + 32 + i) + 1)] = '\x3f';
    }
  });
  EXPECT_TRUE(differs("megatron"));
  EXPECT_EQ(export_again("megatron", "hf").json["blocks"]["new"], 1);
  bytes("layers.0.gate_up_scales")[static_cast<size_t>(block)] = 125;
  bytes("layers.0.gate_up_blocks").replace(static_cast<size_t>(16 * block), 16, 16, '\x66');
  write();
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(Mxfp4Test, DtypeWritesTheMatrices) {
  write();
  convert("megatron");
  const auto tensors = exported_as(Dtype::kBF16);
  EXPECT_EQ(tensors.size(), 3U);
  EXPECT_TRUE(tensors.at("layers.0.gate_up").starts_with("BF16 [3, 64, 64] "));
  const std::string head = "BF16 [3, 32, 64] ";
  const std::string down = tensors.at("layers.0.down");
  ASSERT_TRUE(down.starts_with(head));
  for (int64_t expert = 0; expert < kExperts; ++expert) {
    for (int64_t row = 0; row < kHidden; ++row) {
      for (int64_t column = 0; column < kFfn; ++column) {
        const auto at = static_cast<size_t>((expert * kFfn + column) * kHidden + row);
        ASSERT_EQ(float_at(down.substr(head.size()), at),
                  value("layers.0.down", expert * kHidden + row, column, kFfn));
      }
    }
  }
  EXPECT_EQ(file_content(dir_ / "hf/config.json").find("mxfp4"), std::string::npos);
  auto again = run_options<ConvertOptions>(dir_ / "hf", dir_ / "again");
  again.mapping = dir_ / "table.jsonc";
  convert_hf(fs_, again);
  for (size_t chunk = 0; chunk < 6; ++chunk) {
    EXPECT_EQ(payload("again", kFc1, chunk), payload("megatron", kFc1, chunk)) << chunk;
  }
}

TEST_F(Mxfp4Test, Refuses) {
  bytes("layers.0.down_scales")[5] = '\xff';
  write();
  expect_error(Code::kBadInput, "fc2.weight: a scale is 255, which stands for 2^128",
               [&] { convert("megatron"); });
  bytes("layers.0.down_scales")[5] = '\x70';
  for (NamedTensor& tensor : source_) {
    if (tensor.name == "layers.0.down_blocks") tensor.shape = {kExperts, kHidden, 16};
  }
  write();
  expect_error(Code::kBadInput,
               "layers.0.down_blocks: shape [3, 64, 16], the configuration says [3, 64, 1, 16]",
               [&] { convert("megatron"); });
}

}  // namespace
}  // namespace bridge
