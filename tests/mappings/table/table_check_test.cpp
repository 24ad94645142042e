// Tests tables that must be refused, each with the line and the reason. Each comes from one good
// table by replacing a piece of its text.
#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/bad_table.h"

namespace mappings {
namespace {

const std::string kGood = R"(// a table
{
  "architectures": ["TestForCausalLM"],
  "values": {"rope": "rope_scaling ?? null"},
  "dims": {"layers": "num_hidden_layers", "hidden": "hidden_size", "vocab": "vocab_size"},
  "dialects": [{"P": "model."}, {"P": ""}],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers"},
    "mtp": {"megatron": "mtp.layers.{l}.transformer_layer",
            "hf": "{P}layers.{l + layers}", "count": "mtp_layers ?? 0"}
  },
  "tied": "tie_word_embeddings ?? false",
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "{P}embed_tokens.weight [vocab, hidden]"],
    /* two lines,
       a comment with "rows": [ and ] */
    ["{L}.linear_qkv.weight", "qkv",
      ["{H}.q.weight [hidden, hidden]", "{H}.k.weight [8, hidden]", "{H}.v.weight [8, hidden]"],
      {"groups": "2", "family": ["decoder", "mtp"]}],
    ["{L}.mlp.linear_fc1.weight", "concat", ["{H}.gate.weight [16, hidden]", "{H}.up.weight [16, hidden]"],
      {"gated": true, "family": "decoder", "when": "l >= 1", "aliases": ["{L}.fc1.weight"], "dtypes": ["BF16"], "keep": "F32"}],
    ["output_layer.weight", "vocab", "lm_head.weight [vocab, hidden]", {"when": "!tied"}]
  ],
  "drop": [
    ["lm_head.weight", "shares the embedding", {"when": "tied", "equals": "{P}embed_tokens.weight"}],
    ["{H}.inv_freq", "computed", {"family": "decoder"}]
  ],
  "extra_state": [
    "decoder.final_layernorm",
    ["{L}.linear_qkv", {"family": ["decoder", "mtp"]}]
  ],
  "refuse": [["act != 'silu'", "act '{act}'"]],
  "warn": [["rope != null", "rope is {rope}"]],
  "megatron_config": {
    "_target_": "'some.Provider'",
    "dtype": {"_target_": "=torch_dtype", "_call_": false},
    "freq": [0, "=layers"]
  }
}
)";

TEST(TableCheck, GoodTable) {
  const Table table = parse_table(kGood, "good.jsonc");
  ASSERT_EQ(table.rows.size(), 5u);  // the qkv row is for two families
  EXPECT_EQ(table.rows[1].family, "decoder");
  EXPECT_EQ(table.rows[2].family, "mtp");
  EXPECT_EQ(table.rows[0].place.line, 14);
  EXPECT_EQ(table.rows[1].place.line, 17);
  EXPECT_EQ(table.rows[2].place.line, 17);
  EXPECT_EQ(table.rows[3].place.line, 20);
  EXPECT_EQ(table.rows[4].place.line, 22);
  EXPECT_EQ(table.drops[1].place.line, 26);
  EXPECT_EQ(table.extra_state[0].place.line, 29);
  EXPECT_EQ(table.families[1].place.line, 9);
  EXPECT_EQ(table.megatron_config[2].place.line, 37);
  EXPECT_EQ(table.rows[3].dtypes, std::vector<bridge::Dtype>{bridge::Dtype::kBF16});
  EXPECT_EQ(table.rows[3].keep, bridge::Dtype::kF32);
  EXPECT_EQ(table.rows[3].hf[1].name, "{H}.up.weight");
  ASSERT_EQ(table.rows[3].hf[1].shape.size(), 2u);
}

const BadTable kBad[] = {
    {"no_json", "\"tied\"", "tied", ""},
    {"unknown_key", "\"tied\":", "\"tide\":", "unknown key 'tide'"},
    {"duplicate_key", "\"tied\":", "\"rows\": [], \"tied\":", "rows"},
    {"serves_nothing", R"(["TestForCausalLM"])", "[]", "must name what the table serves"},
    {"architecture_twice", R"(["TestForCausalLM"])", R"(["A", "A"])", "'A' twice"},
    {"architectures_no_list", R"(["TestForCausalLM"])", R"("A")", "must be a list"},
    {"rows_no_list", R"("refuse": [["act != 'silu'", "act '{act}'"]])", R"("refuse": 7)",
     "'refuse' must be a list"},
    {"row_no_list",
     R"(["output_layer.weight", "vocab", "lm_head.weight [vocab, hidden]", {"when": "!tied"}])",
     "7", "row at line 22: a row is ["},
    {"row_too_short", R"(, "lm_head.weight [vocab, hidden]", {"when": "!tied"}])", "]",
     "row at line 22: a row is ["},
    {"unknown_option", R"("groups": "2")", R"("group": "2")",
     "row at line 17: unknown key 'group'"},
    {"unknown_op", R"("concat")", R"("conkat")", "row at line 20: unknown op 'conkat'"},
    {"op_arity_copy", R"("concat")", R"("copy")", "row at line 20: 2 HF names do not fit op copy"},
    {"op_arity_qkv", R"(, "{H}.v.weight [8, hidden]"])", "]",
     "row at line 17: 2 HF names do not fit"},
    {"no_hf", R"(["{H}.gate.weight [16, hidden]", "{H}.up.weight [16, hidden]"])", "[]",
     "0 HF names"},
    {"qkv_without_groups", R"("groups": "2", )", "", "op qkv needs 'groups'"},
    {"groups_elsewhere", R"("gated": true)", R"("groups": "2")", "'groups' has no meaning"},
    {"gated_vocab", R"({"when": "!tied"})", R"({"gated": true})", "'gated' needs op concat"},
    {"gated_text", R"("gated": true)", R"("gated": "yes")", "'gated' must be true or false"},
    {"no_shape", "lm_head.weight [vocab, hidden]", "lm_head.weight", "not of the form"},
    {"open_shape", "lm_head.weight [vocab, hidden]", "lm_head.weight [vocab, hidden",
     "not of the form"},
    {"empty_shape", "lm_head.weight [vocab, hidden]", "lm_head.weight []", "a value is missing"},
    {"bad_dim", "lm_head.weight [vocab, hidden]", "lm_head.weight [vocab, hidden +]",
     "a value is missing"},
    {"rank_differs", "{H}.up.weight [16, hidden]", "{H}.up.weight [16]", "different rank"},
    {"rank_qkv", "[hidden, hidden]\", \"{H}.k.weight [8, hidden]\", \"{H}.v.weight [8, hidden]",
     "[1, 1, 1]\", \"{H}.k.weight [1, 1, 1]\", \"{H}.v.weight [1, 1, 1]", "shape of 3 dimensions"},
    {"bad_when", "\"!tied\"", "\"!tied &&\"", "row at line 22: expression"},
    {"unknown_dtype", R"(["BF16"])", R"(["BF17"])", "unknown dtype 'BF17'"},
    {"no_dtype", R"(["BF16"])", "[]", "'dtypes' is empty"},
    {"unknown_keep", R"("keep": "F32")", R"("keep": "float32")", "unknown dtype 'float32'"},
    {"unknown_family", R"(["decoder", "mtp"]}],
    ["{L}.mlp)",
     R"(["decoder", "encoder"]}],
    ["{L}.mlp)",
     "unknown family 'encoder'"},
    {"family_needed", R"("gated": true, "family": "decoder",)", R"("gated": true,)",
     "'family' is needed"},
    {"family_without_layer", R"("lm_head.weight [vocab, hidden]", {"when": "!tied"})",
     R"("lm_head.weight [vocab, hidden]", {"family": "mtp"})", "has no {L}"},
    {"hf_without_layer", "{H}.up.weight", "up.weight", "has no {H}"},
    {"layer_without_family", "lm_head.weight [vocab", "{H}.head.weight [vocab",
     "has {H} but no family"},
    {"unknown_placeholder", "{P}embed_tokens.weight [", "{Q}embed_tokens.weight [",
     "unknown placeholder {Q}"},
    {"dialect_in_megatron", "\"output_layer.weight\"", "\"{P}output_layer.weight\"",
     "unknown placeholder {P}"},
    {"expert_placeholder", "\"{L}.fc1.weight\"", "\"{L}.fc1.weight{e}\"",
     "unknown placeholder {e}"},
    {"open_brace", "{H}.up.weight", "{H.up.weight", "'{' without '}'"},
    {"close_brace", "{H}.up.weight", "H}.up.weight", "'}' without '{'"},
    {"empty_placeholder", "{H}.up.weight", "{}.up.weight", "empty placeholder"},
    {"prefix_twice", "{H}.up.weight", "{H}.{H}.weight", "has {H} twice"},
    {"name_characters", "{H}.up.weight", "{H}.up/../weight", "characters no tensor name has"},
    {"megatron_name_twice", "\"output_layer.weight\"", "\"embedding.word_embeddings.weight\"",
     "row at line 22: Megatron name 'embedding.word_embeddings.weight' is used at line 14 already"},
    {"alias_is_a_name", R"(["{L}.fc1.weight"])", R"(["{L}.linear_qkv.weight"])",
     "is used at line 17 already"},
    {"alias_repeats", R"(["{L}.fc1.weight"])", R"(["{L}.mlp.linear_fc1.weight"])",
     "repeats a name of the row"},
    {"hf_name_twice", "{H}.up.weight", "{H}.gate.weight",
     "HF name '{H}.gate.weight' is used at line 20"},
    {"hf_name_in_two_rows", "{H}.up.weight", "{H}.v.weight",
     "HF name '{H}.v.weight' is used at line 17"},
    {"drop_of_a_row", "\"{H}.inv_freq\"", "\"{H}.gate.weight\"",
     "drop at line 26: HF name '{H}.gate.weight'"},
    {"drop_without_reason", "\"computed\"", "\"\"", "drop at line 26: the reason is empty"},
    {"drop_equals_unknown", R"("equals": "{P}embed_tokens.weight")",
     R"("equals": "{P}embed.weight")", "drop at line 25: 'equals' names '{P}embed.weight'"},
    {"drop_form", R"(["{H}.inv_freq", "computed", {"family": "decoder"}])", R"(["{H}.inv_freq"])",
     "a drop is ["},
    {"module_twice", R"("decoder.final_layernorm",)",
     R"("decoder.final_layernorm", "decoder.final_layernorm",)",
     "module 'decoder.final_layernorm'"},
    {"prefix_without_index", "\"decoder.layers.{l}\"", "\"decoder.layers\"", "must have {l} once"},
    {"prefix_index_in_word", "\"decoder.layers.{l}\"", "\"decoder.layers{l}\"", "between dots"},
    {"prefix_two_indexes", "\"decoder.layers.{l}\"", "\"decoder.{l}.{l}\"", "must have {l} once"},
    {"prefix_expression", "{l + layers}", "{l +}", "family at line 9: expression"},
    {"family_key", R"("count": "layers"})", R"("number": "layers"})", "unknown key 'number'"},
    {"family_incomplete", R"(, "count": "layers"})", "}", "a family needs"},
    {"dialects_differ", R"({"P": ""})", R"({"Q": ""})", "different placeholders"},
    {"dialect_reserved", R"([{"P": "model."}, {"P": ""}])", R"([{"L": ""}])",
     "cannot name a dialect's placeholder"},
    {"dialect_text", R"({"P": "model."})", R"({"P": "{H}."})", "does not fit a tensor name"},
    {"dim_hides_l", R"("hidden": "hidden_size")", R"("l": "hidden_size")",
     "'l' is defined already"},
    {"dim_hides_value", R"("hidden": "hidden_size")", R"("rope": "1")",
     "'rope' is defined already"},
    {"dim_name", R"("hidden": "hidden_size")", R"("hid den": "1")", "is no identifier"},
    {"dim_number", R"("hidden": "hidden_size")", R"("hidden": 7)", "must be a string"},
    {"notice_placeholder", "act '{act}'", "act '{act +}'", "refuse at line 32: expression"},
    {"notice_form", R"([["rope != null", "rope is {rope}"]])", R"([["rope != null"]])",
     "a notice is ["},
    {"uncounted_form", R"("tied":)", R"("mtp": "mtp_layers", "mtp_uncounted": ["true"], "tied":)",
     "'mtp_uncounted': a notice is ["},
    {"uncounted_expression", R"("tied":)",
     R"("mtp": "mtp_layers", "mtp_uncounted": ["0 +", "none counted"], "tied":)",
     "'mtp_uncounted': expression"},
    {"uncounted_of_no_mtp", R"("tied":)", R"("mtp_uncounted": ["true", "none counted"], "tied":)",
     "'mtp_uncounted' and 'mtp_found' need 'mtp'"},
    {"about_form", R"("tied":)", R"("about": ["Test"], "tied":)", "'about' must be an object"},
    {"about_key", R"("tied":)", R"("about": {"models": "Test", "dtypes": []}, "tied":)",
     "unknown key 'dtypes'"},
    {"about_incomplete", R"("tied":)", R"("about": {"models": "Test"}, "tied":)",
     "'about' needs 'models' and 'mtp'"},
    {"other_form", R"("tied":)", R"("not_served": [["Other", "not this"]], "tied":)",
     "not_served at line 12: an entry is [name, text, remedy]"},
    {"other_without_text", R"("tied":)", R"("not_served": [["Other", "", "take this"]], "tied":)",
     "not_served at line 12: an empty text"},
    {"other_is_served", R"("tied":)",
     R"("not_served": [["TestForCausalLM", "not this", "take that"]], "tied":)",
     "not_served at line 12: 'TestForCausalLM' twice"},
    {"literal_expression", "\"=torch_dtype\"", "\"=torch dtype\"",
     "megatron_config at line 36: expression"},
    {"found_without_key", R"("tied":)", R"("mtp_found": true, "tied":)", "'mtp_found' need 'mtp'"},
    {"fields_when_form", R"("megatron_config": {)",
     R"("megatron_config_when": [["tied"]], "megatron_config": {)",
     "an entry is [condition, {fields}]"},
    {"fields_when_condition", R"("megatron_config": {)",
     R"("megatron_config_when": [["tied &&", {"a": "1"}]], "megatron_config": {)",
     "megatron_config_when at line 34"},
    {"fields_when_literal", R"("megatron_config": {)",
     R"("megatron_config_when": [["tied", {"a": ["=1 +"]}]], "megatron_config": {)",
     "megatron_config at line 34: expression"},
    {"hf_config_form", R"("megatron_config": {)", R"("hf_config": [["a"]], "megatron_config": {)",
     "hf_config at line 34: an entry is [key or list of keys, expression, {options}]"},
    {"hf_config_key", R"("megatron_config": {)",
     R"("hf_config": [["a.", "b"]], "megatron_config": {)", "'a.' is no key of config.json"},
    {"hf_config_options", R"("megatron_config": {)",
     R"("hf_config": [["a", "b", {"family": "decoder"}]], "megatron_config": {)",
     "hf_config at line 34: unknown key 'family'"},
    {"hf_config_purpose", R"("megatron_config": {)",
     R"("hf_config": [["a", "b", {"for": "export"}]], "megatron_config": {)",
     "hf_config at line 34: 'for': 'export' is neither correct nor derive"},
    {"hf_config_expression", R"("megatron_config": {)",
     R"("hf_config": [["a", "b +"]], "megatron_config": {)", "hf_config at line 34: expression"},
    {"config_expression", "\"'some.Provider'\"", "\"some.Provider x\"", "line 35: expression"},
};

class BadTables : public ::testing::TestWithParam<BadTable> {};

TEST_P(BadTables, Refused) {
  expect_refused(kGood, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, BadTables, ::testing::ValuesIn(kBad),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(TableCheck, SizesAreBounded) {
  std::string many = R"({"architectures": ["A"], "rows": [)";
  for (int i = 0; i < 5000; ++i) many += "[\"x\", \"copy\", \"y [1]\"],";
  many.back() = ']';
  many += "}";
  EXPECT_THROW(parse_table(many, "t"), bridge::Error);
  const std::string deep(100, '[');
  EXPECT_THROW(parse_table(deep, "t"), bridge::Error);
  EXPECT_THROW(parse_table(std::string(5 << 20, ' '), "t"), bridge::Error);
  EXPECT_THROW(parse_table("", "t"), bridge::Error);
  EXPECT_THROW(parse_table("[]", "t"), bridge::Error);
}

}  // namespace
}  // namespace mappings
