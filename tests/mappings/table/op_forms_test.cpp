// Tests rows whose parts differ in size, whose heads have gates, whose groups are taken apart and
// whose values change: what a table says about them, the result under a configuration, and how each
// can be wrong.
#include <gtest/gtest.h>

#include <map>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/bad_table.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

const std::string kGood = R"({
  "architectures": ["T"],
  "rows": [
    ["qkv.weight", "gated_qkv", ["q.weight [q, 8]", "k.weight [k, 8]", "v.weight [v, 8]"],
      {"groups": "groups", "heads": "heads"}],
    ["in_proj.weight", "concat", ["qkv.weight [6, 8]", "z.weight [z, 8]"],
      {"split": {".query": "2", ".key": "key", ".value": "5"}}],
    ["ba.weight", "ungroup", "ba.weight [ba, 8]", {"groups": "key_heads", "split": {".beta": "beta", ".alpha": "alpha"}}],
    ["vision_qkv.bias", "group", "vision.bias [heads * groups * 3]", {"groups": "groups", "blocks": "blocks"}],
    ["norm.weight", "minus_one", "norm.weight [8]", {"dtypes": ["BF16", "F32"], "keep": "F32"}],
    ["eh", "columns", "eh.weight [3, 8]", {"groups": "2", "split": [".e", ".h"]}],
    ["pair.weight", "concat", ["x.weight [3, 8]", "y.weight [5, 8]"], {"chunks": ["chunks"]}]
  ]
})";

Json config_of(const std::string& patch) {
  Json config =
      Json::parse(R"({"q": 24, "k": 6, "v": 10, "groups": 2, "heads": 4, "z": 4, "key": 3, "ba": 12,
                                "key_heads": 3, "blocks": 3, "beta": 3, "alpha": 9, "chunks": 4})");
  config.merge_patch(Json::parse(patch));
  return config;
}

TEST(OpForms, NumbersOfTheConfiguration) {
  const Table table = parse_table(kGood, "t");
  EXPECT_EQ(table.rows[1].split, (std::vector<std::string>{".query", ".key", ".value"}));
  EXPECT_EQ(table.rows[3].op, &ops::kGroup);
  EXPECT_EQ(table.rows[4].op, &ops::kMinusOne);
  std::map<std::string, LogicalTensor> tensors;
  Binding(table, config_of("{}")).for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    tensors.emplace(tensor.name, tensor);
  });
  EXPECT_EQ(tensors.at("qkv.weight").numbers.groups, 2);
  EXPECT_EQ(tensors.at("qkv.weight").numbers.heads, 4);
  EXPECT_TRUE(tensors.at("qkv.weight").numbers.split.empty());
  EXPECT_EQ(tensors.at("in_proj.weight").numbers.split,
            (std::vector<SplitPart>{{".query", 2}, {".key", 3}, {".value", 5}}));
  EXPECT_EQ(tensors.at("ba.weight").numbers.split,
            (std::vector<SplitPart>{{".beta", 3}, {".alpha", 9}}));
  EXPECT_EQ(tensors.at("ba.weight").numbers.groups, 3);
  EXPECT_EQ(tensors.at("vision_qkv.bias").numbers.groups, 2);
  EXPECT_EQ(tensors.at("vision_qkv.bias").numbers.blocks, 3);
  // Two blocks of columns, one below the other, have 6 rows.
  EXPECT_EQ(tensors.at("eh").numbers.split, (std::vector<SplitPart>{{".e", 3}, {".h", 3}}));
}

struct BadConfig {
  const char* name;
  const char* patch;
  const char* message;
};

class BadNumbers : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadNumbers, Refused) {
  const Table table = parse_table(kGood, "t.jsonc");
  bridge::expect_error(bridge::Code::kBadInput, GetParam().message,
                       [&] { const Binding binding(table, config_of(GetParam().patch)); });
}

const BadConfig kBadConfigs[] = {
    {"no_groups", R"({"groups": 0})", "q.weight: 0 query groups"},
    {"negative_groups", R"({"groups": -2})", "q.weight: -2 query groups"},
    {"groups_and_key", R"({"groups": 4, "v": 12})", "6 rows do not divide into 4 query groups"},
    {"groups_and_value", R"({"v": 9})", "9 rows do not divide into 2 query groups"},
    {"no_heads", R"({"heads": 0})", "0 heads do not divide into 2 query groups"},
    {"negative_heads", R"({"heads": -4})", "-4 heads do not divide into 2 query groups"},
    {"heads_and_groups", R"({"heads": 3})", "3 heads do not divide into 2 query groups"},
    {"heads_and_rows", R"({"heads": 8})", "24 rows are not a query and a gate for each of 8 heads"},
    {"many_heads", R"({"heads": 4611686018427387904})", "heads overflows 64 bits"},
    {"key_of_another_width", R"({"k": 8})",
     "heads of 3 rows in 2 query groups need a key of 6 rows, not 8"},
    {"ungated_query", R"({"q": 16})", "need a key of 4 rows, not 6"},
    {"parts_too_few", R"({"key": 2})", "the parts of 'split' have 9 rows, the tensor 10"},
    {"parts_too_many", R"({"z": 3})", "the parts of 'split' have 10 rows, the tensor 9"},
    {"part_empty", R"({"key": 0, "z": 1})", "0 rows of '.key' in 'split'"},
    {"part_negative", R"({"key": -3})", "-3 rows of '.key' in 'split'"},
    {"parts_overflow", R"({"key": 9223372036854775807})", "rows of 'split' overflows 64 bits"},
    {"part_text", R"({"key": "3"})", "key"},
    {"ungroup_nothing", R"({"key_heads": 0})", "ba.weight: 0 groups"},
    {"ungroup_negative", R"({"key_heads": -3})", "ba.weight: -3 groups"},
    {"ungroup_part", R"({"beta": 4, "alpha": 8})", "4 rows of '.beta' do not divide into 3 groups"},
    {"ungroup_sum", R"({"alpha": 6})", "the parts of 'split' have 9 rows, the tensor 12"},
    {"no_blocks", R"({"blocks": 0})", "24 rows do not divide into 0 blocks of 2 groups"},
    {"blocks_and_rows", R"({"blocks": 5})", "24 rows do not divide into 5 blocks of 2 groups"},
    {"many_blocks", R"({"blocks": 9223372036854775807})", "groups overflows 64 bits"},
    {"chunks_of_the_whole", R"({"chunks": 3})", "8 on axis 0 do not divide into 3 chunks"},
};
INSTANTIATE_TEST_SUITE_P(All, BadNumbers, ::testing::ValuesIn(kBadConfigs),
                         [](const auto& param) { return std::string(param.param.name); });

const BadTable kBad[] = {
    {"no_such_op", R"("minus_one")", R"("minus_two")", "unknown op 'minus_two'"},
    {"gated_arity", R"(, "v.weight [v, 8]")", "", "2 HF names do not fit op gated_qkv"},
    {"gated_without_heads", R"(, "heads": "heads")", "", "op gated_qkv needs 'heads'"},
    {"gated_without_groups", R"("groups": "groups", )", "", "op gated_qkv needs 'groups'"},
    {"heads_elsewhere", R"({"groups": "key_heads",)", R"({"heads": "4", "groups": "key_heads",)",
     "'heads' has no meaning for op ungroup"},
    {"gated_rank", "[\"q.weight [q, 8]\", \"k.weight [k, 8]\", \"v.weight [v, 8]\"]",
     "[\"q [q, 8, 1]\", \"k [k, 8, 1]\", \"v [v, 8, 1]\"]", "shape of 3 dimensions"},
    {"group_without_blocks", R"(, "blocks": "blocks")", "", "op group needs 'blocks'"},
    {"blocks_elsewhere", R"({"groups": "key_heads",)", R"({"blocks": "4", "groups": "key_heads",)",
     "'blocks' has no meaning for op ungroup"},
    {"part_has_the_key_of_another_row", R"("norm.weight", "minus_one")",
     R"("in_proj.weight.key", "minus_one")",
     "Megatron name 'in_proj.weight.key' is used at line 6 already"},
    {"ungroup_without_groups", R"("groups": "key_heads", )", "", "op ungroup needs 'groups'"},
    {"ungroup_without_sizes", R"({".beta": "beta", ".alpha": "alpha"})", R"([".beta", ".alpha"])",
     "op ungroup needs 'split' with the rows of each part"},
    {"ungroup_without_split", R"(, "split": {".beta": "beta", ".alpha": "alpha"})", "",
     "op ungroup needs 'split' with the rows of each part"},
    {"ungroup_arity", R"("ba.weight [ba, 8]")", R"(["ba.weight [ba, 8]", "bb.weight [ba, 8]"])",
     "2 HF names do not fit op ungroup"},
    {"sizes_are_expressions", R"(".key": "key")", R"(".key": 3)", "a size in 'split'"},
    {"sizes_parse", R"(".key": "key")", R"(".key": "key +")", "a value is missing"},
    {"size_alone", R"({".beta": "beta", ".alpha": "alpha"})", R"({".beta": "ba"})",
     "'split' of 1 suffixes (2 to 16)"},
    {"suffix_twice", R"(".key": "key")", R"(".query": "key")", ".query"},
    {"suffix_empty", R"(".key": "key")", R"("": "key")", "empty entry in 'split'"},
    {"suffix_characters", R"(".key": "key")", R"("/key": "key")", "characters no tensor name has"},
    {"split_and_chunks", R"({"chunks": ["chunks"]})",
     R"({"chunks": ["chunks"], "split": {"a": "3", "b": "5"}})",
     "'chunks' has no meaning with 'split'"},
    {"minus_one_arity", R"("norm.weight [8]")", R"(["norm.weight [8]", "norm2.weight [8]"])",
     "2 HF names do not fit op minus_one"},
    {"minus_one_groups", R"({"dtypes": ["BF16", "F32"],)",
     R"({"groups": "2", "dtypes": ["BF16", "F32"],)", "'groups' has no meaning for op minus_one"},
    {"minus_one_wide", R"(["BF16", "F32"])", R"(["BF16", "F64"])", "op minus_one of F64"},
    {"minus_one_integers", R"(["BF16", "F32"])", R"(["I64"])", "op minus_one of I64"},
    {"minus_one_quantized", R"(["BF16", "F32"])", R"(["F8_E4M3"])", "op minus_one of F8_E4M3"},
    {"minus_one_kept_wide", R"("keep": "F32")", R"("keep": "F64")", "op minus_one of F64"},
};

class BadOpForms : public ::testing::TestWithParam<BadTable> {};

TEST_P(BadOpForms, Refused) {
  expect_refused(kGood, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, BadOpForms, ::testing::ValuesIn(kBad),
                         [](const auto& param) { return std::string(param.param.name); });

// The keys of parts must be unique like any other name, also between rows whose conditions may hold
// together.
TEST(OpForms, APartCannotHaveTheKeyOfAnotherRow) {
  std::string text = kGood;
  const std::pair<std::string, std::string> kChanges[] = {
      {R"("norm.weight", "minus_one")", R"("in_proj.weight.key", "minus_one")"},
      {R"({"split": {".query")", R"({"when": "key > 0", "split": {".query")"},
      {R"({"dtypes")", R"({"when": "key > 1", "dtypes")"}};
  for (const auto& [from, to] : kChanges) text.replace(text.find(from), from.size(), to);
  const Table table = parse_table(text, "t.jsonc");
  bridge::expect_error(bridge::Code::kBadInput, "Megatron name 'in_proj.weight.key' twice",
                       [&] { const Binding binding(table, config_of("{}")); });
}

}  // namespace
}  // namespace mappings
