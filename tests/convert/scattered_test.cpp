// Converts tensors whose elements lie apart on the other side, as of transposed matrices, with
// convert-hf and back: for any threads and memory the same bytes, all of them returned, and casts
// with their witnesses.
#include "tests/convert/own_table.h"

namespace bridge {
namespace {

constexpr const char* kTable = R"({
  "architectures": ["TinyScattered"],
  "dims": {"hidden": "300", "ffn": "150", "experts": "3"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "1"}},
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [7, hidden]"],
    ["{L}.fc1.weight", "transpose_deinterleave", "{H}.gate_up [experts, hidden, 2 * ffn]",
      {"groups": "2", "chunks": ["experts", "2"]}],
    ["{L}.fc1.bias", "deinterleave", "{H}.gate_up_bias [experts, 2 * ffn]",
      {"groups": "2", "chunks": ["experts", "2"]}],
    ["{L}.fc2.weight", "transpose", "{H}.down [experts, ffn, hidden]"]
  ],
  "megatron_config": {"num_layers": "1", "hidden_size": "hidden", "num_attention_heads": "1",
    "vocab_size": "7"}
})";

constexpr int64_t kExperts = 3;
constexpr int64_t kHidden = 300;
constexpr int64_t kFfn = 150;

class ScatteredTest : public OwnTableTest {
 protected:
  ScatteredTest() : OwnTableTest(kTable) {}

  void write(Dtype dtype) {
    write_hf_folder(dir_ / "source",
                    {{"architectures", {"TinyScattered"}}, {"torch_dtype", "bfloat16"}},
                    {random(dtype, "embed.weight", {7, kHidden}),
                     random(dtype, "layers.0.gate_up", {kExperts, kHidden, 2 * kFfn}),
                     random(dtype, "layers.0.gate_up_bias", {kExperts, 2 * kFfn}),
                     random(dtype, "layers.0.down", {kExperts, kFfn, kHidden})});
  }

  // A cast to BF16 loses the lower bits of one element in 97.
  NamedTensor random(Dtype dtype, const std::string& name, const Shape& shape) {
    const auto size = static_cast<size_t>(bits_of(dtype) / 8);
    std::string bytes(static_cast<size_t>(element_count(shape)) * size, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) {
      const size_t place = size - 1 - i % size;
      if (place == 0) bytes[i] = '\x3c';
      if (place == 1 || (place > 1 && i / size % 97 == 0)) bytes[i] = static_cast<char>(random_());
    }
    return {name, dtype, shape, bytes};
  }

  void convert(const std::string& target, int threads, int64_t memory) {
    ConvertOptions options = convert_options(target, threads, memory);
    options.dtype = Dtype::kBF16;
    convert_hf(fs_, options);
  }

  std::mt19937 random_{5};
};

TEST_F(ScatteredTest, AnyThreadsAndMemoryGiveTheSameFiles) {
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF32}) {
    for (const char* folder : {"source", "generous"}) std::filesystem::remove_all(dir_ / folder);
    write(dtype);
    convert("generous", 1, 64 << 20);
    EXPECT_FALSE(differs("generous"));
    for (const int threads : {1, 16}) {
      for (const int64_t memory : {4 << 20, 64 << 20}) {
        SCOPED_TRACE(std::string(safetensors_name(dtype)) + ", " + size_text(memory) +
                     ", threads " + std::to_string(threads));
        for (const char* folder : {"other", "hf"}) std::filesystem::remove_all(dir_ / folder);
        convert("other", threads, memory);
        EXPECT_EQ(difference("generous", "other"), "");
        export_again("other", "hf", threads, memory);
        EXPECT_EQ(difference("source", "hf"), "");
      }
    }
  }
}

// Chunk 2 * e + s of fc1 has the columns of sequence s of expert e as rows.
TEST_F(ScatteredTest, EveryElementHasItsPlace) {
  write(Dtype::kBF16);
  convert("megatron", 2, 4 << 20);
  const std::string source = hf_tensors(dir_ / "source").at("layers.0.gate_up");
  const size_t payload_at = source.size() - static_cast<size_t>(kExperts * kHidden * 2 * kFfn * 2);
  for (const int64_t expert : {0, 2}) {
    for (const int64_t sequence : {0, 1}) {
      std::string found;
      edit_item(dir_ / "megatron", "decoder.layers.fc1.weight",
                static_cast<size_t>(2 * expert + sequence),
                [&](std::string& data) { found = data; });
      ASSERT_EQ(found.size(), static_cast<size_t>(kFfn * kHidden * 2));
      for (int64_t i = 0; i < kFfn; ++i) {
        for (int64_t row = 0; row < kHidden; ++row) {
          const int64_t from = (expert * kHidden + row) * 2 * kFfn + 2 * i + sequence;
          ASSERT_EQ(found.substr(static_cast<size_t>((i * kHidden + row) * 2), 2),
                    source.substr(payload_at + static_cast<size_t>(from * 2), 2))
              << expert << ", " << sequence << ": " << i << ", " << row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace bridge
