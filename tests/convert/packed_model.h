// A model with the features that DeepSeek-V4 adds to quantized sources, for conversions in both
// directions: FP4 codes, two in a byte of I8, with E8M0 scales; a tensor whose equal parts have
// keys of their own; ids that are I64 on one side and I32 on the other.
//
// The layout of FP4 is that of inference/convert.py of the DeepSeek-V4 release.
#pragma once

#include <gtest/gtest.h>

#include <cstring>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "bridge/convert/verify_hash.h"
#include "tests/convert/own_table.h"

namespace bridge {

inline constexpr const char* kPackedTable = R"({
  "architectures": ["TinyPacked"],
  "dims": {"rows": "rows", "columns": "columns", "experts": "3", "vocab": "7"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "1"}},
  "quantization": [{"dtype": "F4", "stored": "I8", "weight": ".weight", "scale": ".scale", "block": ["1", "32"],
    "scale_dtypes": ["F8_E8M0"]}],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [vocab, columns]"],
    ["{L}.self_attention.linear_proj.weight", "copy", "{H}.o.weight [rows, columns]"],
    ["{L}.self_attention.linear_qkv.weight", "qkv",
      ["{H}.q.weight [4 * rows, columns]", "{H}.k.weight [2 * rows, columns]", "{H}.v.weight [2 * rows, columns]"],
      {"groups": "2"}],
    ["{L}.mlp.experts.experts.{e}.linear_fc1.weight", "concat",
      ["{H}.{e}.gate.weight [rows, columns]", "{H}.{e}.up.weight [rows, columns]"],
      {"gated": true, "experts": "experts"}],
    ["{L}.hyper.alpha", "copy", "{H}.hyper_scale [6]", {"keep": "F32", "split": ["_pre", "_post", "_res"]}],
    ["{L}.router.tid2eid", "vocab", "{H}.tid2eid [vocab, 2]", {"dtypes": ["I64", "I32"], "keep": "I32"}]
  ],
  "megatron_config": {"num_layers": "1", "hidden_size": "columns", "num_attention_heads": "1", "vocab_size": "7"}
})";

inline const std::string kProj = "decoder.layers.self_attention.linear_proj.weight";
inline const std::string kAlpha = "decoder.layers.hyper.alpha";
inline const std::string kIds = "decoder.layers.router.tid2eid";

struct Size {
  int64_t rows;
  int64_t columns;
};
constexpr Size kSmall{9, 70};  // two blocks and a partial one in each row

template <typename T>
std::string bytes_of_values(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline NamedTensor& find(std::vector<NamedTensor>& tensors, const std::string& name) {
  for (NamedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::logic_error(name);
}

class PackedTest : public OwnTableTest {
 protected:
  PackedTest() : OwnTableTest(kPackedTable) {}

  void add(std::vector<NamedTensor>& tensors, const std::string& name, int64_t rows,
           int64_t columns, bool ordinary) {
    std::string codes(static_cast<size_t>(rows * (columns / 2)), '\0');
    for (char& code : codes) code = static_cast<char>(random_());
    const Shape grid = {rows, (columns + 31) / 32};
    std::string scales(static_cast<size_t>(grid[0] * grid[1]), '\0');
    for (char& scale : scales) {
      // Any byte except 253 and 254, which exceed BF16 when multiplied by 6.
      const auto any = random_() % 254;
      scale = static_cast<char>(ordinary ? 100 + random_() % 40 : (any == 253 ? 255 : any));
    }
    tensors.push_back({name + ".scale", Dtype::kF8E8M0, grid, scales});
    tensors.push_back({name + ".weight", Dtype::kI8, {rows, columns / 2}, codes});
  }

  std::vector<NamedTensor> tensors(const Size& size, bool ordinary) {
    std::vector<NamedTensor> all;
    all.push_back({"embed.weight",
                   Dtype::kBF16,
                   {7, size.columns},
                   std::string(static_cast<size_t>(14 * size.columns), '\x3c')});
    add(all, "layers.0.o", size.rows, size.columns, ordinary);
    add(all, "layers.0.q", 4 * size.rows, size.columns, ordinary);
    add(all, "layers.0.k", 2 * size.rows, size.columns, ordinary);
    add(all, "layers.0.v", 2 * size.rows, size.columns, ordinary);
    for (const char* e : {"0", "1", "2"}) {
      add(all, std::string("layers.0.") + e + ".gate", size.rows, size.columns, ordinary);
      add(all, std::string("layers.0.") + e + ".up", size.rows, size.columns, ordinary);
    }
    all.push_back({"layers.0.hyper_scale",
                   Dtype::kF32,
                   {6},
                   bytes_of_values<float>({0.5F, 1.5F, -2.5F, 3.5F, 4.5F, -0.0F})});
    all.push_back({"layers.0.tid2eid", Dtype::kI64, {7, 2}, bytes_of_values(ids_)});
    return all;
  }

  void write(const Size& size, const std::vector<NamedTensor>& source) {
    std::filesystem::remove_all(dir_ / "source");
    write_hf_folder(dir_ / "source",
                    {{"architectures", {"TinyPacked"}},
                     {"rows", size.rows},
                     {"columns", size.columns},
                     {"torch_dtype", "bfloat16"},
                     {"quantization_config", {{"quant_method", "fp8"}}}},
                    source, 3);
  }

  void convert(const std::string& target, int threads = 1, int64_t memory = 64 << 20,
               std::optional<Dtype> dtype = {}) {
    ConvertOptions options = convert_options(target, threads, memory);
    options.dtype = dtype;
    options.vocab_rows = vocab_rows_;
    convert_hf(fs_, options);
  }

  std::mt19937 random_{11};
  int64_t vocab_rows_ = 0;
  std::vector<int64_t> ids_ = {0, 1, 2, 0, -1, 5, 2147483647, -2147483648, 7, 8, 9, 10, 11, 12};
};

}  // namespace bridge
