// Tests tensors whose layout differs between the sides (split, columns, chunks), elements stored
// two in a byte, and spellings that say more than a text (dialects with variables, defaults and MTP
// in separate places): a small table that has them all, the result, and how it can be wrong.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/bad_table.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

const std::string kGood = R"({
  "architectures": ["T"],
  "dims": {"layers": "num_layers", "experts": "num_experts"},
  "dialects": [
    {"P": "", "mtp_at": "mtp", "joined": "no"},
    {"P": "model."},
    {"mtp_at": "layers", "joined": "yes"}
  ],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers",
                "let": {"wide": "P == 'model.'"}},
    "mtp": {"megatron": "mtp.layers.{l}", "hf": "{mtp_at}.{l + (mtp_at == 'mtp' ? 0 : layers)}",
            "count": "mtp_layers ?? 0", "mtp": true}
  },
  "mtp": "mtp_layers",
  "quantization": [
    {"dtype": "F4", "stored": "I8", "weight": ".weight", "scale": ".scale", "block": ["1", "32"],
     "scale_dtypes": ["F8_E8M0"]}
  ],
  "rows": [
    ["{L}.alpha", "copy", "{H}.scale [3]", {"family": "decoder", "split": ["_pre", "_post", "_res"]}],
    ["{L}.experts.fc1.weight", "copy", "{H}.experts [experts, 2 * size, wide ? 64 : 32]",
      {"family": "decoder", "chunks": ["experts", "2"]}],
    ["{L}.e.weight", "copy", "{H}.e.weight [8, 8]", {"family": "mtp", "when": "joined == 'no'"}],
    ["{L}.h.weight", "copy", "{H}.h.weight [8, 8]", {"family": "mtp", "when": "joined == 'no'"}],
    ["{L}", "columns", "{H}.eh.weight [8, 16]",
      {"family": "mtp", "when": "joined == 'yes'", "groups": "2", "split": [".e.weight", ".h.weight"]}],
    ["embedding.weight", "vocab", "{P}embed.weight [vocab, 32]"]
  ],
  "refuse": [["keep_mtp && strange", "strange {strange}"]]
})";

Json config_of(const std::string& patch) {
  Json config = Json::parse(
      R"({"num_layers": 2, "num_experts": 4, "size": 6, "mtp_layers": 1, "vocab": 10})");
  config.merge_patch(Json::parse(patch));
  return config;
}

std::vector<std::string> lines_of(const Binding& binding, size_t dialect) {
  std::vector<std::string> lines;
  binding.for_each_tensor(dialect, false, [&](const LogicalTensor& tensor) {
    lines.push_back(tensor.name + " <- " + tensor.hf[0].name + " " +
                    bridge::shape_text(tensor.hf[0].shape));
  });
  return lines;
}

TEST(RowForms, VariablesAndDefaultsOfDialects) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, config_of("{}"));
  ASSERT_EQ(binding.dialect_count(), 3u);
  EXPECT_EQ(lines_of(binding, 0),
            (std::vector<std::string>{
                "decoder.layers.0.alpha <- layers.0.scale [3]",
                "decoder.layers.1.alpha <- layers.1.scale [3]",
                "decoder.layers.0.experts.fc1.weight <- layers.0.experts [4, 12, 32]",
                "decoder.layers.1.experts.fc1.weight <- layers.1.experts [4, 12, 32]",
                "mtp.layers.0.e.weight <- mtp.0.e.weight [8, 8]",
                "mtp.layers.0.h.weight <- mtp.0.h.weight [8, 8]",
                "embedding.weight <- embed.weight [10, 32]"}));
  EXPECT_EQ(lines_of(binding, 1)[3],
            "decoder.layers.1.experts.fc1.weight <- model.layers.1.experts [4, 12, 64]");
  EXPECT_EQ(lines_of(binding, 1)[4], "mtp.layers.0.e.weight <- mtp.0.e.weight [8, 8]");
  EXPECT_EQ(lines_of(binding, 2)[4], "mtp.layers.0 <- layers.2.eh.weight [8, 16]");
  EXPECT_EQ(lines_of(binding, 2)[5], "embedding.weight <- embed.weight [10, 32]");
}

TEST(RowForms, MtpInPlacesOfItsOwn) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, config_of("{}"));
  EXPECT_EQ(binding.mtp_hf_prefixes(0, 1), std::vector<std::string>{"mtp.1."});
  EXPECT_EQ(binding.mtp_hf_prefixes(2, 1), std::vector<std::string>{"layers.3."});
  const auto only = [](const char* there) {
    return [there](std::string_view name) { return name == there; };
  };
  // A layer whose number follows the decoder's layers may belong to the decoder; mtp.K cannot.
  EXPECT_TRUE(binding.is_mtp_layer(2, 0, only("layers.2.eh.weight")));
  EXPECT_FALSE(binding.is_mtp_layer(2, 0, only("layers.2.scale")));
  EXPECT_TRUE(binding.is_mtp_layer(0, 0, only("mtp.0.something")));
  EXPECT_EQ(binding.choose_dialect(only("layers.2.eh.weight")), 2u);
  // The same holds if MTP is left out and the spellings differ in nothing else.
  const Binding dropped(table, config_of("{}"), {.drop_mtp = true});
  EXPECT_EQ(dropped.choose_dialect(only("layers.2.eh.weight")), 2u);
  EXPECT_EQ(lines_of(dropped, 2).size(), 5u);
}

TEST(RowForms, SplitColumnsAndChunks) {
  const Table table = parse_table(kGood, "t");
  std::map<std::string, std::vector<std::string>> split;
  std::map<std::string, std::vector<int64_t>> chunks;
  Binding(table, config_of("{}")).for_each_tensor(2, false, [&](const LogicalTensor& tensor) {
    split[tensor.name] = tensor.row->split;
    chunks[tensor.name] = tensor.chunks;
    const bool columns = tensor.name == "mtp.layers.0";
    EXPECT_EQ(tensor.row->op == &ops::kColumns, columns);
    EXPECT_EQ(tensor.numbers.groups, columns ? 2 : 0);
  });
  EXPECT_EQ(split["decoder.layers.1.alpha"], (std::vector<std::string>{"_pre", "_post", "_res"}));
  EXPECT_EQ(split["mtp.layers.0"], (std::vector<std::string>{".e.weight", ".h.weight"}));
  EXPECT_TRUE(split["embedding.weight"].empty());
  EXPECT_EQ(chunks["decoder.layers.0.experts.fc1.weight"], (std::vector<int64_t>{4, 2}));
  EXPECT_TRUE(chunks["embedding.weight"].empty());
  EXPECT_EQ(ops::kColumns.name, "columns");
}

TEST(RowForms, ElementsStoredTwoToAByte) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, config_of("{}"));
  const BlockScheme& scheme = binding.block_schemes()[0];
  EXPECT_EQ(scheme.quantization->dtype, bridge::Dtype::kF4E2M1);
  EXPECT_EQ(scheme.quantization->stored, bridge::Dtype::kI8);
  EXPECT_EQ(scheme.stored_shape({6, 64}), (bridge::Shape{6, 32}));
  EXPECT_EQ(scheme.stored_shape({6, 63}), std::nullopt);
  EXPECT_EQ(scheme.scale_shape({6, 64}), (bridge::Shape{6, 2}));
}

// Forms for one type under conditions that exclude each other.
const std::string kForms = R"(
    {"dtype": "I4", "stored": "I32", "weight": ".weight", "packed": ".weight_packed", "scale": ".weight_scale",
     "beside": [".weight_shape", ".more"], "when": "kind == 'int4'", "block": ["1", "32"], "scale_dtypes": ["BF16"]},
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "when": "kind == 'row'", "per": "row",
     "scale_dtypes": ["F32"]},
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "when": "kind in ['tensor', 'both']",
     "per": "tensor", "scale_dtypes": ["F32"]},
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "when": "kind == 'both'", "per": "row",
     "scale_dtypes": ["F32"]},
)";

Table table_of_forms() {
  std::string text = kGood;
  const std::string at = "\"quantization\": [";
  text.insert(text.find(at) + at.size(), kForms);
  return parse_table(text, "t");
}

// The scheme of the kind, which comes before the one of the good table.
BlockScheme scheme_of(const Table& table, const std::string& kind) {
  const Binding binding(table, config_of("{\"kind\": \"" + kind + "\"}"));
  EXPECT_EQ(binding.block_schemes().size(), 2u) << kind;
  return binding.block_schemes()[0];
}

TEST(RowForms, ElementsStoredEightToANumber) {
  const Table table = table_of_forms();
  const BlockScheme scheme = scheme_of(table, "int4");
  EXPECT_EQ(scheme.quantization->dtype, bridge::Dtype::kI4);
  EXPECT_EQ(scheme.stored_name("a.weight"), "a.weight_packed");
  EXPECT_EQ(scheme.scale_name("a.weight"), "a.weight_scale");
  EXPECT_EQ(scheme.stored_name("a.bias"), std::nullopt);
  EXPECT_EQ(scheme.names_beside("a.weight"),
            (std::vector<std::string>{"a.weight_shape", "a.more"}));
  EXPECT_EQ(scheme.stored_shape({6, 64}), (bridge::Shape{6, 8}));
  EXPECT_EQ(scheme.stored_shape({6, 68}), std::nullopt);
  EXPECT_EQ(scheme.block_of({6, 64}), (bridge::Shape{1, 32}));
  EXPECT_EQ(scheme.scale_shape({6, 64}), (bridge::Shape{6, 2}));
}

TEST(RowForms, AScaleForARowOrATensor) {
  const Table table = table_of_forms();
  const BlockScheme row = scheme_of(table, "row");
  EXPECT_EQ(row.stored_name("a.weight"), "a.weight");
  EXPECT_TRUE(row.names_beside("a.weight").empty());
  EXPECT_EQ(row.block_of({6, 64}), (bridge::Shape{1, 64}));
  EXPECT_EQ(row.scale_shape({6, 64}), (bridge::Shape{6, 1}));
  EXPECT_FALSE(row.fits_scales({6}, {6, 64}));
  const BlockScheme tensor = scheme_of(table, "tensor");
  EXPECT_EQ(tensor.block_of({6, 64}), (bridge::Shape{6, 64}));
  EXPECT_EQ(tensor.scale_shape({6, 64}), bridge::Shape{});
  EXPECT_TRUE(tensor.fits_scales({1}, {6, 64}));
  EXPECT_FALSE(tensor.fits_scales({1, 1}, {6, 64}));
  EXPECT_EQ(Binding(table, config_of(R"({"kind": "none"})")).block_schemes().size(), 1u);
}

TEST(RowForms, TwoFormsOfOneTypeAtOnceAreRefused) {
  const Table table = table_of_forms();
  bridge::expect_error(bridge::Code::kBadInput, "two entries of quantization for F8_E4M3",
                       [&] { const Binding binding(table, config_of(R"({"kind": "both"})")); });
}

TEST(RowForms, BlocksThatAreAnAxis) {
  std::string text = kGood;
  for (const auto& [from, to] :
       {std::pair(R"("stored": "I8")", R"("stored": "U8")"), {R"(["F8_E8M0"])", R"(["U8"])"}}) {
    ASSERT_NE(text.find(from), std::string::npos) << from;
    text.replace(text.find(from), std::string(from).size(), to);
  }
  const Table table = parse_table(text, "t");
  const Binding binding(table, config_of("{}"));
  const BlockScheme& scheme = binding.block_schemes()[0];
  EXPECT_TRUE(scheme.fits({6, 64}) && scheme.fits({3, 6, 64}));
  EXPECT_FALSE(scheme.fits({64}));
  EXPECT_EQ(scheme.stored_shape({3, 6, 64}), (bridge::Shape{3, 6, 2, 16}));
  EXPECT_EQ(scheme.stored_shape({3, 6, 48}), std::nullopt);
  EXPECT_EQ(scheme.scale_shape({3, 6, 64}), (bridge::Shape{3, 6, 2}));
}

TEST(RowForms, RefusalsMayDependOnMtp) {
  const Table table = parse_table(kGood, "t");
  const Json strange = config_of(R"({"strange": true})");
  EXPECT_NO_THROW(Binding(table, strange, {.drop_mtp = true}));
  EXPECT_EQ(bridge::refusal_of([&] { const Binding binding(table, strange); },
                               bridge::Code::kUnsupported),
            "config.json: strange true");
}

TEST(RowForms, RefusesShapesThatDoNotFit) {
  const auto refused = [](const std::string& from, const std::string& to, const char* message) {
    std::string text = kGood;
    text.replace(text.find(from), from.size(), to);
    const Table table = parse_table(text, "t");
    bridge::expect_error(bridge::Code::kBadInput, message,
                         [&] { const Binding binding(table, config_of("{}")); });
  };
  refused("scale [3]", "scale [4]", "4 rows do not split into 3 equal parts");
  refused("eh.weight [8, 16]", "eh.weight [8, 15]", "15 columns do not divide into 2 blocks");
  refused("\"groups\": \"2\"", "\"groups\": \"0\"", "16 columns do not divide into 0 blocks");
  refused("[\"experts\", \"2\"]", "[\"experts\", \"5\"]",
          "12 on axis 1 do not divide into 5 chunks");
  refused("[\"experts\", \"2\"]", "[\"0\"]", "4 on axis 0 do not divide into 0 chunks");
  refused("[\"experts\", \"2\"]", "[\"2\", \"2\"]",
          "chunks of axis 1 lie apart unless axis 0 is cut into 4");
}

const BadTable kBad[] = {
    {"split_alone", R"(["_pre", "_post", "_res"])", R"(["_pre"])",
     "'split' of 1 suffixes (2 to 16)"},
    {"split_twice", R"(["_pre", "_post", "_res"])", R"(["_pre", "_pre"])",
     "'_pre' twice in 'split'"},
    {"split_characters", R"("_pre",)", R"("/pre",)", "characters no tensor name has"},
    {"split_vocab", R"("{P}embed.weight [vocab, 32]"])",
     R"("{P}embed.weight [vocab, 32]", {"split": ["a", "b"]}])", "'split' has no meaning"},
    {"split_text", R"(["_pre", "_post", "_res"])", R"("_pre")", "must be a list"},
    {"columns_without_groups", R"("groups": "2", )", "", "op columns needs 'groups'"},
    {"columns_of_a_vector", "eh.weight [8, 16]", "eh.weight [16]", "op columns needs a matrix"},
    {"columns_arity", R"("{H}.eh.weight [8, 16]")",
     R"(["{H}.eh.weight [8, 16]", "{H}.x.weight [8, 16]"])", "2 HF names do not fit op columns"},
    {"chunks_too_many", R"(["experts", "2"])", R"(["1", "1", "1", "1"])",
     "'chunks' has no more numbers"},
    {"chunks_expression", R"(["experts", "2"])", R"(["experts +"])", "a value is missing"},
    {"stored_elsewhere", R"("dtype": "F4", "stored": "I8")",
     R"("dtype": "F8_E4M3", "stored": "I8")", "F8_E4M3 cannot be stored as I8"},
    {"stored_unpacked", R"("stored": "I8", )", "", "F4 cannot be stored as F4"},
    {"stored_unknown", R"("stored": "I8")", R"("stored": "I9")", "unknown dtype 'I9'"},
    {"packed_scales", R"("scale_dtypes": ["F8_E8M0"])", R"("scale_dtypes": ["F32"])",
     "scales of F32 are not supported (F8_E8M0 are)"},
    {"int4_unpacked", R"("dtype": "F4", "stored": "I8")", R"("dtype": "I4", "stored": "I8")",
     "I4 cannot be stored as I8"},
    {"int4_scales", R"("dtype": "F4", "stored": "I8")", R"("dtype": "I4", "stored": "I32")",
     "scales of F8_E8M0 are not supported (F32, BF16 are)"},
    {"per_column", R"("block": ["1", "32"])", R"("per": "column")", "'per' is 'column'"},
    {"per_row_and_block", R"("block": ["1", "32"])", R"("per": "row", "block": ["1", "32"])",
     "'block' has no meaning with 'per'"},
    {"beside_scale", R"("block": ["1", "32"])", R"("block": ["1", "32"], "beside": [".scale"])",
     "different suffixes"},
    {"packed_characters", R"("block": ["1", "32"])", R"("block": ["1", "32"], "packed": "")",
     "different suffixes"},
    {"quantization_when", R"("block": ["1", "32"])", R"("block": ["1", "32"], "when": "x +")",
     "a value is missing"},
    {"dialect_adds", R"({"P": "model."})", R"({"Q": "model."})", "different placeholders"},
    {"prefix_expression", "'mtp' ? 0 : layers)}", "'mtp' ? 0)}", "':' expected"},
    {"variable_keep_mtp", R"("experts": "num_experts")", R"("keep_mtp": "1")",
     "'keep_mtp' is defined already"},
};

class BadRowForms : public ::testing::TestWithParam<BadTable> {};

TEST_P(BadRowForms, Refused) {
  expect_refused(kGood, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, BadRowForms, ::testing::ValuesIn(kBad),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace mappings
