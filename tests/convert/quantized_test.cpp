// Converts block-quantized sources with convert-hf and back. The values equal those of a plain
// independent decoder in this test, every byte comes back, and a value that training changed
// affects only its own blocks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "tests/convert/float_codes.h"
#include "tests/convert/own_table.h"

namespace bridge {
namespace {

// One matrix of each kind: alone, halves of a gated one, of experts, q, k and v.
constexpr const char* kTable = R"({
  "architectures": ["TinyQuantized"],
  "dims": {"rows": "rows", "columns": "columns", "experts": "experts"},
  "families": {"decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "1"}},
  "quantization": [{"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale_inv",
    "block": ["block[0]", "block[1]"], "scale_dtypes": ["F32", "BF16", "F8_E8M0"],
    "power_of_two": "(scale_fmt ?? '') == 'ue8m0'"}],
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "embed.weight [7, columns]"],
    ["{L}.self_attention.linear_proj.weight", "copy", "{H}.o.weight [rows, columns]"],
    ["{L}.self_attention.linear_qkv.weight", "qkv",
      ["{H}.q.weight [4 * rows, columns]", "{H}.k.weight [2 * rows, columns]", "{H}.v.weight [2 * rows, columns]"],
      {"groups": "2"}],
    ["{L}.mlp.experts.experts.{e}.linear_fc1.weight", "concat",
      ["{H}.{e}.gate.weight [rows, columns]", "{H}.{e}.up.weight [rows, columns]"],
      {"gated": true, "experts": "experts"}]
  ],
  "megatron_config": {"num_layers": "1", "hidden_size": "columns", "num_attention_heads": "1", "vocab_size": "7"}
})";

struct Size {
  int64_t rows = 19;
  int64_t columns = 22;
  int64_t block_rows = 4;
  int64_t block_columns = 8;
};

// --- an independent reading of the formats -----------------------------------------------------

float read_scale(Dtype dtype, const std::string& bytes, size_t number) {
  if (dtype == Dtype::kF8E8M0) return e8m0(bytes[number]);
  return float_at(bytes, number, dtype == Dtype::kF32 ? 4 : 2);
}

uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, 4);
  const uint32_t down = bits & 0xffff0000U;
  float low = 0;
  std::memcpy(&low, &down, 4);
  if (std::isinf(value)) return static_cast<uint16_t>(bits >> 16);
  const uint32_t up = down + 0x10000U;
  float high = 0;
  std::memcpy(&high, &up, 4);
  const double below = std::fabs(static_cast<double>(value) - low);
  const double above = std::isinf(high)
                           ? std::ldexp(1.0, 128) - std::fabs(static_cast<double>(value))
                           : std::fabs(static_cast<double>(high) - value);
  const bool odd = (down >> 16 & 1) != 0;
  return static_cast<uint16_t>((above < below || (above == below && odd) ? up : down) >> 16);
}

bool is_nan(uint16_t bf16) {
  return (bf16 & 0x7fff) > 0x7f80;
}

// --- sources ------------------------------------------------------------------------------------

class QuantizedTest : public OwnTableTest {
 protected:
  QuantizedTest() : OwnTableTest(kTable) {}

  // Ordinary scales, or scales of every kind.
  std::string scales(Dtype dtype, int64_t count, bool ordinary) {
    static constexpr uint32_t kOdd[] = {0x00000000, 0x80000000, 0x00000001, 0x00400000, 0x7f800000,
                                        0xff800000, 0x7fc00000, 0xbf800000, 0x00800000, 0x3f800000};
    std::string bytes;
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits = 0x38000000U + (static_cast<uint32_t>(random_()) & 0x00ffffffU);
      if (!ordinary && random_() % 2 == 0) bits = kOdd[random_() % std::size(kOdd)];
      // 2^120 * 448 does not fit BF16; infinity does.
      if (!ordinary && random_() % 8 == 0)
        bits = 0x00000000U + (static_cast<uint32_t>(random_()) & 0x000fffffU);
      if (dtype == Dtype::kF8E8M0) {
        bytes.push_back(static_cast<char>(ordinary ? 110 + random_() % 20 : random_()));
      } else {
        const size_t size = dtype == Dtype::kF32 ? 4 : 2;
        bytes.append(reinterpret_cast<const char*>(&bits) + 4 - size, size);
      }
    }
    return bytes;
  }

  // BF16 values that F16 holds.
  std::string small_values(int64_t bytes) {
    std::string values(static_cast<size_t>(bytes), '\x3c');
    for (size_t i = 0; i < values.size(); i += 2) values[i] = static_cast<char>(random_());
    return values;
  }

  void add(std::vector<NamedTensor>& tensors, const std::string& name, int64_t rows,
           const Size& size, Dtype scale_dtype, bool ordinary) {
    std::string codes(static_cast<size_t>(rows * size.columns), '\0');
    for (char& code : codes) {
      do {
        code = static_cast<char>(random_());
      } while (ordinary && (code & 0x7f) == 0x7f);
    }
    const Shape grid = {(rows + size.block_rows - 1) / size.block_rows,
                        (size.columns + size.block_columns - 1) / size.block_columns};
    tensors.push_back({name + ".weight_scale_inv", scale_dtype, grid,
                       scales(scale_dtype, grid[0] * grid[1], ordinary)});
    tensors.push_back({name + ".weight", Dtype::kF8E4M3, {rows, size.columns}, codes});
  }

  std::vector<NamedTensor> tensors(const Size& size, Dtype scale_dtype, bool ordinary) {
    std::vector<NamedTensor> all;
    all.push_back(
        {"embed.weight", Dtype::kBF16, {7, size.columns}, small_values(14 * size.columns)});
    add(all, "layers.0.o", size.rows, size, scale_dtype, ordinary);
    add(all, "layers.0.q", 4 * size.rows, size, scale_dtype, ordinary);
    add(all, "layers.0.k", 2 * size.rows, size, scale_dtype, ordinary);
    // Like a module that was not quantized.
    all.push_back({"layers.0.v.weight",
                   Dtype::kBF16,
                   {2 * size.rows, size.columns},
                   small_values(4 * size.rows * size.columns)});
    for (const char* e : {"0", "1", "2"}) {
      add(all, std::string("layers.0.") + e + ".gate", size.rows, size, scale_dtype, ordinary);
      add(all, std::string("layers.0.") + e + ".up", size.rows, size, scale_dtype, ordinary);
    }
    return all;
  }

  static nlohmann::ordered_json config(const Size& size) {
    return {{"architectures", {"TinyQuantized"}},
            {"rows", size.rows},
            {"columns", size.columns},
            {"experts", 3},
            {"block", {size.block_rows, size.block_columns}},
            {"torch_dtype", "bfloat16"},
            {"num_nextn", 0},
            {"quantization_config", {{"quant_method", "fp8"}}}};
  }

  void write(const Size& size, const std::vector<NamedTensor>& source, size_t shards = 3) {
    std::filesystem::remove_all(dir_ / "source");
    write_hf_folder(dir_ / "source", config(size), source, shards);
  }

  void convert(const std::string& target, std::optional<Dtype> dtype = {}, int threads = 1,
               int64_t memory = 64 << 20) {
    ConvertOptions options = convert_options(target, threads, memory);
    options.dtype = dtype;
    convert_hf(fs_, options);
  }

  std::mt19937 random_{7};
};

const std::string kProj = "decoder.layers.self_attention.linear_proj.weight";

// --- forward ------------------------------------------------------------------------------------

TEST_F(QuantizedTest, ValuesAreCodesTimesTheirBlocksScale) {
  const Size size;
  for (const Dtype scale_dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF8E8M0}) {
    const auto source = tensors(size, scale_dtype, false);
    write(size, source);
    const std::string target(safetensors_name(scale_dtype));
    convert(target);
    const std::string found = payload(target, kProj);
    const std::string& scale_bytes = source[1].bytes;
    const std::string& codes = source[2].bytes;
    ASSERT_EQ(found.size(), codes.size() * 2);
    for (int64_t r = 0; r < size.rows; ++r) {
      for (int64_t c = 0; c < size.columns; ++c) {
        const auto i = static_cast<size_t>(r * size.columns + c);
        const auto number = static_cast<size_t>(r / 4 * 3 + c / 8);
        const float product =
            e4m3(static_cast<uint8_t>(codes[i])) * read_scale(scale_dtype, scale_bytes, number);
        uint16_t value = 0;
        std::memcpy(&value, &found[2 * i], 2);
        if (std::isnan(product)) {
          EXPECT_TRUE(is_nan(value)) << r << ", " << c;
        } else {
          EXPECT_EQ(value, to_bf16(product)) << target << " " << r << ", " << c << ": " << product;
        }
      }
    }
  }
}

// --- there and back -----------------------------------------------------------------------------

struct Trip {
  std::string name;
  Size size;
  Dtype scale_dtype;
};

class ReturnTripTest : public QuantizedTest, public testing::WithParamInterface<Trip> {};

TEST_P(ReturnTripTest, GivesTheSameFiles) {
  const auto& [name, size, scale_dtype] = GetParam();
  for (const bool ordinary : {true, false}) {
    SCOPED_TRACE(ordinary ? "ordinary scales" : "scales of every kind");
    write(size, tensors(size, scale_dtype, ordinary));
    for (const char* folder : {"one", "four", "hf", "hf4"})
      std::filesystem::remove_all(dir_ / folder);
    convert("one", {}, 1);
    convert("four", {}, 4, 4 << 20);
    EXPECT_EQ(difference("one", "four"), "");
    const Report report = export_again("one", "hf");
    EXPECT_EQ(difference("source", "hf"), "");
    EXPECT_EQ(report.json["blocks"]["new"], 0);
    EXPECT_GT(report.json["blocks"]["kept"], 0);
    // Under a scale of zero, all codes have the same value.
    const int64_t witnesses = report.json["witnesses"];
    EXPECT_TRUE(ordinary ? witnesses == 0 : witnesses > 0 || name != "Usual") << witnesses;
    export_again("four", "hf4", 4, 4 << 20);
    EXPECT_EQ(difference("source", "hf4"), "");
    EXPECT_FALSE(differs("one"));
  }
}

// Exports without the sidecar, from the codes and scales of a reference.
TEST_P(ReturnTripTest, TheReferenceIsAsGoodAsTheSidecar) {
  const auto& [name, size, scale_dtype] = GetParam();
  write(size, tensors(size, scale_dtype, false));
  convert("megatron");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  export_again("megatron", "hf", 1, 64 << 20, dir_ / "source");
  EXPECT_EQ(difference("source", "hf"), "");
}

const Trip kTrips[] = {
    {"Small", {}, Dtype::kF32},
    {"SmallBf16", {}, Dtype::kBF16},
    {"SmallE8m0", {}, Dtype::kF8E8M0},
    {"PartialOnly", {3, 5, 128, 128}, Dtype::kF32},
    {"Usual", {150, 300, 128, 128}, Dtype::kF32},
    {"Exact", {128, 256, 128, 128}, Dtype::kBF16},
    {"Rows", {9, 70, 1, 32}, Dtype::kF8E8M0},
    {"Columns", {70, 9, 32, 1}, Dtype::kF32},
    {"OneElement", {6, 7, 1, 1}, Dtype::kF32},
    {"Wide", {5, 9000, 4, 1024}, Dtype::kF32},
    {"Largest", {520, 530, 512, 512}, Dtype::kF32},
};
INSTANTIATE_TEST_SUITE_P(Sizes, ReturnTripTest, testing::ValuesIn(kTrips),
                         [](const auto& test) { return test.param.name; });

TEST_F(QuantizedTest, ThroughF32AndF16Too) {
  const Size size;
  write(size, tensors(size, Dtype::kF32, true));
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16}) {
    const std::string name(safetensors_name(dtype));
    convert(name, dtype);
    EXPECT_EQ(open_checkpoint(dir_ / name).find(kProj)->dtype, dtype);
    export_again(name, "hf" + name);
    EXPECT_EQ(difference("source", "hf" + name), "");
  }
}

// A tile is cut when memory is short; the bytes stay the same.
TEST_F(QuantizedTest, LittleMemory) {
  const Size size{260, 3000, 128, 128};
  write(size, tensors(size, Dtype::kF32, true));
  convert("megatron", {}, 1, 400 << 10);
  for (const int64_t memory : {400 << 10, 700 << 10, 2 << 20, 32 << 20}) {
    std::filesystem::remove_all(dir_ / "hf");
    export_again("megatron", "hf", 2, memory);
    EXPECT_EQ(difference("source", "hf"), "") << memory;
  }
  expect_error(Code::kUsage, "too small", [&] { export_again("megatron", "none", 1, 200 << 10); });
}

TEST_F(QuantizedTest, ExportInAnotherDtypeLeavesScalesOut) {
  const Size size;
  write(size, tensors(size, Dtype::kF32, true));
  convert("megatron");
  const auto found = exported_as(Dtype::kBF16);
  EXPECT_EQ(found.size(), 11U);
  for (const auto& [name, text] : found) {
    EXPECT_TRUE(text.starts_with("BF16 ")) << name;
    EXPECT_FALSE(name.ends_with("_scale_inv"));
  }
  const std::string values = payload("megatron", kProj);
  EXPECT_TRUE(found.at("layers.0.o.weight").ends_with(values));
  const auto config = nlohmann::ordered_json::parse(file_content(dir_ / "hf/config.json"));
  EXPECT_FALSE(config.contains("quantization_config"));
}

// --- after training -----------------------------------------------------------------------------

// Returns the blocks of `size` in which elements of a and b differ.
std::set<int64_t> blocks_of_codes(const std::string& a, const std::string& b, const Size& size) {
  std::set<int64_t> blocks;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto element = static_cast<int64_t>(i);
    if (a[i] != b[i]) {
      blocks.insert(element / size.columns / size.block_rows * 3 +
                    element % size.columns / size.block_columns);
    }
  }
  return blocks;
}

TEST_F(QuantizedTest, AChangedValueCostsItsBlockOnly) {
  const Size size;
  auto source = tensors(size, Dtype::kF32, true);
  write(size, source);
  convert("megatron");
  // Row 9, column 10 lies in block (2, 1), number 7. The old scale cannot hold the new value.
  const uint16_t trained = to_bf16(3.14159F);
  edit_item(dir_ / "megatron", kProj, 0,
            [&](std::string& data) { std::memcpy(&data[2 * (9 * 22 + 10)], &trained, 2); });
  const Report report = export_again("megatron", "hf");
  EXPECT_EQ(report.json["blocks"]["new"], 1);
  const auto before = hf_tensors(dir_ / "source");
  const auto after = hf_tensors(dir_ / "hf");
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, text] : before) {
    if (name.starts_with("layers.0.o.")) continue;
    EXPECT_TRUE(after.at(name) == text) << name;
  }
  const std::string codes = after.at("layers.0.o.weight").substr(std::strlen("F8_E4M3 [19, 22] "));
  const std::string scales =
      after.at("layers.0.o.weight_scale_inv").substr(std::strlen("F32 [5, 3] "));
  EXPECT_EQ(blocks_of_codes(source[2].bytes, codes, size), std::set<int64_t>{7});
  for (size_t i = 0; i < 15; ++i) {
    EXPECT_EQ(std::memcmp(&scales[4 * i], &source[1].bytes[4 * i], 4) != 0, i == 7) << i;
  }
  // By the owner's rule, the largest magnitude becomes 448.
  const std::string values = payload("megatron", kProj);
  float amax = 0;
  for (int64_t r = 8; r < 12; ++r) {
    for (int64_t c = 8; c < 16; ++c) {
      uint32_t bits = 0;
      std::memcpy(reinterpret_cast<char*>(&bits) + 2,
                  &values[static_cast<size_t>(2 * (r * 22 + c))], 2);
      float value = 0;
      std::memcpy(&value, &bits, 4);
      amax = std::max(amax, std::fabs(value));
    }
  }
  const float scale = read_scale(Dtype::kF32, scales, 7);
  EXPECT_EQ(scale, amax / 448.0F);
  const float held = e4m3(static_cast<uint8_t>(codes[9 * 22 + 10])) * scale;
  EXPECT_NEAR(held, 3.14159F, 3.14159F / 16);
}

// DeepSeek-V3.1 has F32 scales that are powers of two, the smallest ones that clip nothing.
TEST_F(QuantizedTest, NewScalesArePowersOfTwoWhereTheConfigurationSaysSo) {
  const Size size;
  for (const auto& [trained, expected] :
       {std::pair{448.0F, 1.0F}, {450.0F, 2.0F}, {300.0F, 1.0F}, {100.0F, 0.25F}}) {
    std::filesystem::remove_all(dir_ / "source");
    auto ue8m0 = config(size);
    ue8m0["scale_fmt"] = "ue8m0";
    write_hf_folder(dir_ / "source", ue8m0, tensors(size, Dtype::kF32, true), 3);
    for (const char* folder : {"megatron", "hf"}) std::filesystem::remove_all(dir_ / folder);
    convert("megatron");
    const uint16_t bits = to_bf16(trained);
    edit_item(dir_ / "megatron", kProj, 0,
              [&](std::string& data) { std::memcpy(&data[0], &bits, 2); });
    EXPECT_EQ(export_again("megatron", "hf").json["blocks"]["new"], 1);
    const std::string scales = hf_tensors(dir_ / "hf")
                                   .at("layers.0.o.weight_scale_inv")
                                   .substr(std::strlen("F32 [5, 3] "));
    EXPECT_EQ(read_scale(Dtype::kF32, scales, 0), expected) << trained;
  }
}

// A trained value that the old scale holds is a code like any other.
TEST_F(QuantizedTest, AValueOfTheOldScaleKeepsIt) {
  const Size size;
  auto source = tensors(size, Dtype::kF32, true);
  write(size, source);
  convert("megatron");
  const float scale = read_scale(Dtype::kF32, source[1].bytes, 0);
  const uint16_t trained = to_bf16(e4m3(0x35) * scale);
  const uint8_t was = static_cast<uint8_t>(source[2].bytes[3]);
  source[2].bytes[3] = was == 0x35 ? was : 0x35;
  edit_item(dir_ / "megatron", kProj, 0,
            [&](std::string& data) { std::memcpy(&data[6], &trained, 2); });
  EXPECT_EQ(export_again("megatron", "hf").json["blocks"]["new"], 0);
  write(size, source);
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(QuantizedTest, ABlockThatIsNotFiniteHasNoScale) {
  const Size size;
  write(size, tensors(size, Dtype::kF32, true));
  for (const uint16_t bits : {uint16_t{0x7f80}, uint16_t{0x7fc1}}) {
    std::filesystem::remove_all(dir_ / "megatron");
    convert("megatron");
    edit_item(dir_ / "megatron", kProj, 0,
              [&](std::string& data) { std::memcpy(&data[2 * 22], &bits, 2); });
    expect_error(Code::kBadInput, "layers.0.o.weight: a value in row 1 is not finite",
                 [&] { export_again("megatron", "hf"); });
    EXPECT_FALSE(fs_.stat(dir_ / "hf"));
  }
}

// --- refusals -----------------------------------------------------------------------------------

struct BadSource {
  std::string name;
  std::function<void(std::vector<NamedTensor>&)> edit;
  std::string message;
};

class QuantizedRefusalTest : public QuantizedTest, public testing::WithParamInterface<BadSource> {};

TEST_P(QuantizedRefusalTest, IsBadInput) {
  const Size size;
  auto source = tensors(size, Dtype::kF32, true);
  GetParam().edit(source);
  write(size, source, 1);
  expect_error(Code::kBadInput, GetParam().message, [&] { convert("megatron"); });
}

const BadSource kBadSources[] = {
    {"NoScales", [](auto& t) { t.erase(t.begin() + 1); },
     "layers.0.o.weight: F8_E4M3 without its scales layers.0.o.weight_scale_inv"},
    {"NoTensor", [](auto& t) { t.erase(t.begin() + 2); }, "1 missing (layers.0.o.weight)"},
    {"ScalesOfAPlainTensor",
     [](auto& t) {
       t.push_back(t[1]);
       t.back().name = "layers.0.v.weight_scale_inv";
     },
     "1 unknown (layers.0.v.weight_scale_inv)"},
    {"TransposedScales",
     [](auto& t) {
       t[1].shape = {3, 5};
     },
     "layers.0.o.weight_scale_inv: shape [3, 5], blocks of 4 x 8 of [19, 22] need [5, 3]"},
    {"IntegerScales", [](auto& t) { t[1].dtype = Dtype::kI32; },
     "layers.0.o.weight_scale_inv: dtype I32 is not one the table allows for scales"},
    {"QuantizedVocabulary",
     [](auto& t) {
       t[0].dtype = Dtype::kF8E4M3;
       t[0].bytes.resize(t[0].bytes.size() / 2);
     },
     "embed.weight: dtype F8_E4M3 is not one the table allows here"},
    {"AnotherFormat", [](auto& t) { t[2].dtype = Dtype::kF8E5M2; },
     "layers.0.o.weight: dtype F8_E5M2 is not one the table allows here"},
    {"PlainPartOfAnotherDtype", [](auto& t) { t[7].dtype = Dtype::kF16; },
     "layers.0.v.weight: F16 where"},
};
INSTANTIATE_TEST_SUITE_P(Sources, QuantizedRefusalTest, testing::ValuesIn(kBadSources),
                         [](const auto& test) { return test.param.name; });

TEST_F(QuantizedTest, BlocksOfNoSizeAreRefused) {
  for (const auto& [rows, columns] : {std::pair{0, 8}, {-4, 8}, {513, 512}, {1 << 30, 1 << 30}}) {
    const Size size;
    auto bad = config(size);
    bad["block"] = {rows, columns};
    std::filesystem::remove_all(dir_ / "source");
    write_hf_folder(dir_ / "source", bad, tensors(size, Dtype::kF32, true));
    expect_error(Code::kBadInput, "quantization blocks of", [&] { convert("megatron"); });
  }
}

TEST_F(QuantizedTest, NothingThatHoldsScalesIsAUsageError) {
  const Size size;
  write(size, tensors(size, Dtype::kF32, true));
  convert("megatron");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  put_file(dir_ / "config_only/config.json", config(size).dump());
  const Error e = expect_error(Code::kUsage, "nothing here holds its scales", [&] {
    export_again("megatron", "hf", 1, 64 << 20, dir_ / "config_only");
  });
  for (const char* option : {"--sidecar", "--reference", "--dtype bf16"}) {
    EXPECT_NE(e.hint().find(option), std::string::npos) << e.hint();
  }
}

}  // namespace
}  // namespace bridge
