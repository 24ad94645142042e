// Converts INT4 weights, eight in an I32, and FP8 weights with a scale for each row or tensor, with
// convert-hf and back. The values equal those of a plain independent decoder in this test, every
// byte comes back, what lies beside a weight too, and a value that training changed affects only
// what shares its scale.
//
// Truth: compressed-tensors (pack_to_int32, _dequantize), transformers' finegrained_fp8.py.
#include <cmath>
#include <cstring>

#include "tests/convert/float_codes.h"
#include "tests/convert/own_table.h"

namespace bridge {
namespace {

constexpr const char* kTable = R"({
  "architectures": ["TinyScaled"],
  "dims": {"rows": "6", "columns": "64"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "1"}},
  "quantization": [
    {"dtype": "I4", "stored": "I32", "weight": ".weight", "packed": ".weight_packed", "scale": ".weight_scale",
     "beside": [".weight_shape"], "when": "kind == 'int4'", "block": ["1", "32"], "scale_dtypes": ["BF16", "F32"]},
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "beside": [".input_scale"],
     "when": "kind == 'row'", "per": "row", "scale_dtypes": ["BF16", "F32"]},
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "beside": [".input_scale"],
     "when": "kind == 'tensor'", "per": "tensor", "scale_dtypes": ["BF16", "F32"]}
  ],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [7, columns]"],
    ["output_layer.weight", "copy", "head.weight [7, columns]"],
    ["{L}.self_attention.linear_proj.weight", "copy", "{H}.o.weight [rows, columns]"],
    ["{L}.mlp.linear_fc1.weight", "concat",
      ["{H}.gate.weight [rows, columns]", "{H}.up.weight [rows, columns]"], {"gated": true}]
  ],
  "drop": [["layers.0.head.weight", "shares the output layer's weights", {"equals": "head.weight", "regenerate": true}]],
  "megatron_config": {"num_layers": "1", "hidden_size": "columns", "num_attention_heads": "1", "vocab_size": "7"}
})";

constexpr int64_t kRows = 6;
constexpr int64_t kColumns = 64;
const std::string kProj = "decoder.layers.self_attention.linear_proj.weight";

struct Kind {
  std::string name;
  Dtype scale_dtype;
  Shape scales;  // of a weight
  Shape block;
};

// Rounds a finite number to the nearest, ties to even.
uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

class ScaledTest : public OwnTableTest, public testing::WithParamInterface<Kind> {
 protected:
  ScaledTest() : OwnTableTest(kTable) {}

  static bool is_int4() { return GetParam().name.starts_with("int4"); }
  static std::string kind() { return GetParam().name.substr(0, GetParam().name.find('_')); }

  std::string random_bytes(int64_t count) {
    std::string bytes(static_cast<size_t>(count), '\0');
    for (char& byte : bytes) {
      do {
        byte = static_cast<char>(random_());
      } while (!is_int4() && (byte & 0x7f) == 0x7f);  // not a number
    }
    return bytes;
  }

  // Between 2^-15 and 2^-13.
  std::string scales() {
    std::string bytes;
    const size_t size = GetParam().scale_dtype == Dtype::kF32 ? 4 : 2;
    for (int64_t i = 0; i < element_count(GetParam().scales); ++i) {
      const uint32_t bits = 0x38000000U + (static_cast<uint32_t>(random_()) & 0x00ffffffU);
      bytes.append(reinterpret_cast<const char*>(&bits) + 4 - size, size);
    }
    return bytes;
  }

  void add(std::vector<NamedTensor>& all, const std::string& name) {
    const int64_t rows = kRows;
    all.push_back({name + ".weight_scale", GetParam().scale_dtype, GetParam().scales, scales()});
    if (is_int4()) {
      const std::vector<int64_t> shape = {rows, kColumns};
      std::string text(16, '\0');
      std::memcpy(text.data(), shape.data(), text.size());
      all.push_back({name + ".weight_packed",
                     Dtype::kI32,
                     {rows, kColumns / 8},
                     random_bytes(rows * kColumns / 2)});
      all.push_back({name + ".weight_shape", Dtype::kI64, {2}, text});
    } else {
      all.push_back(
          {name + ".weight", Dtype::kF8E4M3, {rows, kColumns}, random_bytes(rows * kColumns)});
      all.push_back({name + ".input_scale", Dtype::kF32, {}, std::string("\x00\x00\x80\x3f", 4)});
    }
  }

  void add_plain(std::vector<NamedTensor>& all, const std::string& name, int64_t rows) {
    all.push_back({name,
                   Dtype::kBF16,
                   {rows, kColumns},
                   std::string(static_cast<size_t>(2 * rows * kColumns), '\x3c')});
  }

  // The weight o comes first: its scales, elements and what lies beside.
  std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> all;
    add(all, "layers.0.o");
    add(all, "layers.0.gate");
    add_plain(all, "layers.0.up.weight", kRows);  // like a module that was not quantized
    add_plain(all, "embed.weight", 7);
    add_plain(all, "head.weight", 7);
    return all;
  }

  void write(const std::vector<NamedTensor>& source) {
    std::filesystem::remove_all(dir_ / "source");
    write_hf_folder(dir_ / "source",
                    {{"architectures", {"TinyScaled"}},
                     {"kind", kind()},
                     {"torch_dtype", "bfloat16"},
                     {"quantization_config", {{"quant_method", "any"}}}},
                    source, 2);
  }

  void convert(const std::string& target, int threads = 1) {
    convert_hf(fs_, convert_options(target, threads, 64 << 20));
  }

  static float code_at(const std::string& elements, size_t i) {
    if (!is_int4()) return e4m3(static_cast<uint8_t>(elements[i]));
    return static_cast<float>((static_cast<uint8_t>(elements[i / 2]) >> (i % 2 * 4) & 15) - 8);
  }

  static size_t scale_number(size_t i) {
    const auto element = static_cast<int64_t>(i);
    const int64_t row = element / kColumns / GetParam().block[0];
    const int64_t across = (kColumns - 1) / GetParam().block[1] + 1;
    return static_cast<size_t>(row * across + element % kColumns / GetParam().block[1]);
  }

  static float scale_at(const std::string& scales, size_t number) {
    return float_at(scales, number, GetParam().scale_dtype == Dtype::kF32 ? 4 : 2);
  }

  std::mt19937 random_{3};
};

TEST_P(ScaledTest, ValuesAreCodesTimesTheirScale) {
  const auto source = tensors();
  write(source);
  convert("megatron");
  const std::string found = payload("megatron", kProj);
  ASSERT_EQ(found.size(), static_cast<size_t>(2 * kRows * kColumns));
  for (size_t i = 0; i < found.size() / 2; ++i) {
    uint16_t value = 0;
    std::memcpy(&value, &found[2 * i], 2);
    const float product = code_at(source[1].bytes, i) * scale_at(source[0].bytes, scale_number(i));
    ASSERT_EQ(value, to_bf16(product)) << i << ": " << product;
  }
}

TEST_P(ScaledTest, GivesTheSameFiles) {
  write(tensors());
  convert("one");
  convert("four", 4);
  const Report report = expect_one_and_four();
  EXPECT_EQ(report.json["blocks"]["kept"], 2 * element_count(GetParam().scales));
}

// Scales that no rule makes: codes that have one value under them come back from witnesses.
TEST_P(ScaledTest, OddScalesComeBack) {
  for (const uint32_t scale : {0x00000000U, 0x80000000U, 0x00010000U, 0xbf800000U, 0x7fc00000U}) {
    auto source = tensors();
    const size_t size = GetParam().scale_dtype == Dtype::kF32 ? 4 : 2;
    std::memcpy(source[0].bytes.data(), reinterpret_cast<const char*>(&scale) + 4 - size, size);
    write(source);
    for (const char* folder : {"megatron", "hf"}) std::filesystem::remove_all(dir_ / folder);
    convert("megatron");
    export_again("megatron", "hf");
    EXPECT_EQ(difference("source", "hf"), "") << scale;
  }
}

TEST_P(ScaledTest, AChangedValueCostsWhatSharesItsScale) {
  write(tensors());
  convert("megatron");
  const uint16_t trained = to_bf16(3.14159F);
  edit_item(dir_ / "megatron", kProj, 0,
            [&](std::string& data) { std::memcpy(&data[2 * kColumns], &trained, 2); });
  EXPECT_EQ(export_again("megatron", "hf").json["blocks"]["new"], 1);
  const auto before = hf_tensors(dir_ / "source");
  const auto after = hf_tensors(dir_ / "hf");
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, text] : before) {
    if (name != "layers.0.o.weight_scale" && !name.starts_with("layers.0.o.weight")) {
      EXPECT_TRUE(after.at(name) == text) << name;
    }
  }
  // The largest value of what shares the scale is the new one.
  const std::string& found = after.at("layers.0.o.weight_scale");
  const size_t size = GetParam().scale_dtype == Dtype::kF32 ? 4 : 2;
  const std::string bytes =
      found.substr(found.size() - size * static_cast<size_t>(element_count(GetParam().scales)));
  const float largest = is_int4() ? 7 : 448;
  EXPECT_NEAR(scale_at(bytes, scale_number(kColumns)) * largest, 3.14159F, 3.14159F / 128);
}

TEST_P(ScaledTest, ExportInAnotherDtypeHasPlainWeights) {
  write(tensors());
  convert("megatron");
  const auto found = exported_as(Dtype::kBF16);
  EXPECT_EQ(found.size(), 5U);
  for (const auto& [name, text] : found) {
    EXPECT_TRUE(name.ends_with(".weight") && text.starts_with("BF16 ")) << name;
  }
  EXPECT_TRUE(found.at("layers.0.o.weight").ends_with(payload("megatron", kProj)));
}

// A copy of the output layer that has codes of its own, as the FP8 releases of GLM-4.5 have one.
TEST_P(ScaledTest, AQuantizedCopyComesBackAsItWas) {
  if (is_int4()) return;  // what has a name of its own is no copy
  auto source = tensors();
  const Shape scales = GetParam().block[0] == 1 ? Shape{7, 1} : Shape{};
  const size_t size = GetParam().scale_dtype == Dtype::kF32 ? 4 : 2;
  source.push_back(
      {"layers.0.head.weight", Dtype::kF8E4M3, {7, kColumns}, random_bytes(7 * kColumns)});
  source.push_back({"layers.0.head.weight_scale", GetParam().scale_dtype, scales,
                    std::string(size * static_cast<size_t>(element_count(scales)), '\x3c')});
  write(source);
  convert("megatron");
  EXPECT_FALSE(differs("megatron"));
  expect_the_source("megatron");
}

TEST_P(ScaledTest, WhatDoesNotFitIsRefused) {
  const auto refused = [&](const std::string& message, const auto& edit) {
    auto source = tensors();
    edit(source);
    write(source);
    expect_error(Code::kBadInput, message, [&] { convert("none"); });
  };
  refused("without its scales layers.0.o.weight_scale", [](auto& t) { t.erase(t.begin()); });
  refused("layers.0.o.weight_scale: shape [3]", [](auto& t) {
    t[0].shape = {3};
    t[0].bytes.resize(t[0].dtype == Dtype::kF32 ? 12 : 6);
  });
  refused("1 unknown (layers.0.up.weight_scale)", [](auto& t) {
    t.push_back(t[0]);
    t.back().name = "layers.0.up.weight_scale";
  });
}

const Kind kKinds[] = {
    {"int4", Dtype::kBF16, {kRows, 2}, {1, 32}},
    {"int4_F32", Dtype::kF32, {kRows, 2}, {1, 32}},
    {"row", Dtype::kBF16, {kRows, 1}, {1, kColumns}},
    {"row_F32", Dtype::kF32, {kRows, 1}, {1, kColumns}},
    {"tensor", Dtype::kBF16, {}, {kRows, kColumns}},
    {"tensor_F32", Dtype::kF32, {1}, {kRows, kColumns}},
};
INSTANTIATE_TEST_SUITE_P(Kinds, ScaledTest, testing::ValuesIn(kKinds),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
