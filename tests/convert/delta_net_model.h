// A model with the features that Qwen3.5 and Qwen3-Next add to a table: queries with gates,
// projections grouped by key head, tensors in parts of different sizes, and norms whose weights
// Megatron stores minus one. All sizes differ, so that no two parts can be mistaken for each other.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "bridge/io/number/codec.h"
#include "tests/convert/own_table.h"

namespace bridge {

inline constexpr const char* kDeltaNetTable = R"({
  "architectures": ["TinyDeltaNet"],
  "dims": {"hidden": "hidden", "d": "head_dim", "vdim": "value_dim", "key_dim": "3 * d", "value_dim": "6 * vdim",
           "norm": "norm"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "2"}},
  "per_layer_keys": "per_layer",
  "quantization": [{"dtype": "F8_E4M3", "weight": ".weight", "scale": ".scale", "block": ["4", "4"],
    "scale_dtypes": ["F32"]}],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [5, hidden]"],
    ["{L}.self_attention.linear_qkv.weight", "gated_qkv",
      ["{H}.q.weight [6 * 2 * d, hidden]", "{H}.k.weight [2 * d, hidden]", "{H}.v.weight [2 * vdim, hidden]"],
      {"groups": "2", "heads": "6"}],
    ["{L}.self_attention.linear_qkv.bias", "gated_qkv",
      ["{H}.q.bias [6 * 2 * d]", "{H}.k.bias [2 * d]", "{H}.v.bias [2 * vdim]"], {"groups": "2", "heads": "6"}],
    ["{L}.self_attention.in_proj.weight", "concat",
      ["{H}.qkv.weight [2 * key_dim + value_dim, hidden]", "{H}.z.weight [value_dim, hidden]",
       "{H}.b.weight [6, hidden]", "{H}.a.weight [6, hidden]"],
      {"split": {".query": "key_dim", ".key": "key_dim", ".value": "value_dim", ".z": "value_dim", ".beta": "6",
                 ".alpha": "6"}}],
    ["{L}.self_attention.conv1d.weight", "copy", "{H}.conv1d.weight [2 * key_dim + value_dim, 1, 4]",
      {"split": {".query": "key_dim", ".key": "key_dim", ".value": "value_dim"}}],
    ["{L}.next.in_proj.weight", "ungroup", "{H}.qkvz.weight [2 * key_dim + 2 * value_dim, hidden]",
      {"groups": "3", "split": {".query": "key_dim", ".key": "key_dim", ".value": "value_dim", ".z": "value_dim"}}],
    ["{L}.next.ba.weight", "ungroup", "{H}.ba.weight [12, hidden]",
      {"groups": "3", "split": {".beta": "6", ".alpha": "6"}}],
    ["{L}.mlp.experts.experts.{e}.w", "copy", "{H}.experts.{e}.w [5, hidden]",
      {"experts": "3", "split": {"_first": "4", "_last": "1"}}],
    ["{L}.self_attention.out_norm.weight", "minus_one", "{H}.norm.weight [norm]"],
    ["{L}.kept_norm.weight", "minus_one", "{H}.kept_norm.weight [norm]", {"keep": "F32"}],
    ["{L}.norms.weight", "minus_one", "{H}.norms.weight [4, 8]", {"split": {"_a": "1", "_b": "3"}}]
  ],
  "megatron_config": {"num_layers": "2", "hidden_size": "hidden", "num_attention_heads": "6", "vocab_size": "5"}
})";

struct DeltaNetSize {
  int64_t hidden;
  int64_t head_dim;
  int64_t value_dim;
  int64_t norm;
};
constexpr DeltaNetSize kNarrowNet{3, 2, 5, 37};
// Every kind of tensor except the smallest is larger than a slice of 64 KiB, and slices end at odd
// places.
constexpr DeltaNetSize kWideNet{301, 20, 24, 70'001};

class DeltaNetTest : public OwnTableTest {
 protected:
  DeltaNetTest() : OwnTableTest(kDeltaNetTable) {}

  // Weights in the range of norms, and every special kind of number; none is too large for F16.
  std::string numbers(Dtype dtype, int64_t count) {
    static constexpr uint32_t kSpecial[] = {
        0x80000000, 0x00000000, 0x00000001, 0x807fffff, 0x7fc00001, 0xffc12345, 0x7f800001,
        0xffbfffff, 0x7f800000, 0xff800000, 0x3f000000, 0x3effffff, 0x3f800000, 0xbf800000,
        0x43800000, 0x43808000, 0x4b800001, 0xc77f0000, 0x477f0000, 0x33000000};
    std::normal_distribution<float> weight(1.0F, 0.7F);
    std::string wide(static_cast<size_t>(4 * count), '\0');
    for (size_t at = 0; at < wide.size(); at += 4) {
      const float value = weight(random_);
      std::memcpy(&wide[at], &value, 4);
      if (random_() % 4 != 0) continue;
      uint32_t bits = kSpecial[random_() % std::size(kSpecial)];
      if (bits == 0x4b800001 && (dtype == Dtype::kF16 || narrow_target_)) bits = 0x3e99999a;
      std::memcpy(&wide[at], &bits, 4);
    }
    std::string bytes(static_cast<size_t>(byte_size(dtype, {count})), '\0');
    int64_t overflowed = 0;
    cast_floats(Dtype::kF32, std::as_bytes(std::span(wide)), dtype,
                std::as_writable_bytes(std::span(bytes)), overflowed);
    EXPECT_EQ(overflowed, 0);
    return bytes;
  }

  // Returns the tensors of two layers. norms: the dtype of the norms, which may differ from the
  // rest: Qwen3.5 has them in F32.
  std::vector<NamedTensor> tensors(const DeltaNetSize& size, Dtype dtype, Dtype norms) {
    const int64_t key = 3 * size.head_dim;
    const int64_t value = 6 * size.value_dim;
    std::vector<NamedTensor> all;
    const auto add = [&](const std::string& name, Shape shape, Dtype of) {
      all.push_back({name, of, shape, numbers(of, element_count(shape))});
    };
    add("embed.weight", {5, size.hidden}, dtype);
    for (const std::string layer : {"layers.0.", "layers.1."}) {
      const auto matrix = [&](const std::string& name, int64_t rows) {
        add(layer + name, {rows, size.hidden}, dtype);
      };
      matrix("q.weight", 12 * size.head_dim);
      matrix("k.weight", 2 * size.head_dim);
      matrix("v.weight", 2 * size.value_dim);
      add(layer + "q.bias", {12 * size.head_dim}, dtype);
      add(layer + "k.bias", {2 * size.head_dim}, dtype);
      add(layer + "v.bias", {2 * size.value_dim}, dtype);
      matrix("qkv.weight", 2 * key + value);
      matrix("z.weight", value);
      matrix("b.weight", 6);
      matrix("a.weight", 6);
      add(layer + "conv1d.weight", {2 * key + value, 1, 4}, dtype);
      matrix("qkvz.weight", 2 * key + 2 * value);
      matrix("ba.weight", 12);
      for (const char* expert : {"0", "1", "2"}) matrix(std::string("experts.") + expert + ".w", 5);
      add(layer + "norm.weight", {size.norm}, norms);
      add(layer + "kept_norm.weight", {size.norm}, norms);
      add(layer + "norms.weight", {4, 8}, norms);
    }
    return all;
  }

  void write(const DeltaNetSize& size, const std::vector<NamedTensor>& source,
             bool per_layer = false, const std::string& folder = "source") {
    std::filesystem::remove_all(dir_ / folder);
    write_hf_folder(dir_ / folder,
                    {{"architectures", {"TinyDeltaNet"}},
                     {"hidden", size.hidden},
                     {"head_dim", size.head_dim},
                     {"value_dim", size.value_dim},
                     {"norm", size.norm},
                     {"per_layer", per_layer},
                     {"torch_dtype", "bfloat16"}},
                    source, 2);
  }

  void convert(const std::string& target, std::optional<Dtype> dtype = {}, int threads = 1,
               int64_t memory = 64 << 20) {
    ConvertOptions options = convert_options(target, threads, memory);
    options.dtype = dtype;
    convert_hf(fs_, options);
  }

  std::mt19937 random_{5};
  bool narrow_target_ = false;  // true: --dtype casts F32 to F16
};

inline NamedTensor& tensor_named(std::vector<NamedTensor>& tensors, const std::string& name) {
  for (NamedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::logic_error(name);
}

}  // namespace bridge
