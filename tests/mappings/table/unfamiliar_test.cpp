// Names of a table that no built-in table has.
#include "mappings/table/unfamiliar.h"

#include <gtest/gtest.h>

#include "mappings/table/registry.h"

namespace mappings {
namespace {

std::vector<std::string> names_of(std::string text, const std::string& from,
                                  const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return unfamiliar_names(parse_table(text, "own.jsonc"));
}

const std::string kTable = R"({
  "architectures": ["OwnForCausalLM"],
  "use": ["transformer", "decoder", "gpt", "gpt_layers", "run_time"],
  "rows": [
    ["{L}.self_attention.linear_qkv.bias", "copy", "{H}.b [hidden]"]
  ],
  "extra_state": ["{L}.self_attention.linear_qkv"],
  "megatron_config": {
    "layernorm_epsilon": "1e-5"
  }
})";

TEST(UnfamiliarNames, BuiltinTablesHaveNone) {
  for (const Table* table : builtin_tables()) EXPECT_TRUE(unfamiliar_names(*table).empty());
  EXPECT_TRUE(names_of(kTable, "OwnFor", "OtherFor").empty());
}

TEST(UnfamiliarNames, NameTheNearest) {
  EXPECT_EQ(names_of(kTable, "linear_qkv.bias", "linear_qkvv.bias"),
            std::vector<std::string>{"row at line 5: no built-in table has the Megatron key "
                                     "'{L}.self_attention.linear_qkvv.bias' (the nearest is "
                                     "'{L}.self_attention.linear_qkv.bias')"});
  EXPECT_EQ(names_of(kTable, "\"layernorm_epsilon\"", "\"layer_norm_epsilon\""),
            std::vector<std::string>{
                "megatron_config at line 9: no built-in table has the field 'layer_norm_epsilon' "
                "(the nearest is 'layernorm_epsilon')"});
  EXPECT_EQ(
      names_of(kTable, "[\"{L}.self_attention.linear_qkv\"]", "[\"{L}.attention.linear_qkv\"]")
          .size(),
      1u);
  EXPECT_EQ(
      names_of(kTable, "\"rows\"", R"("families": {"decoder": {"megatron": "decoder.layer.{l}",
            "hf": "{P}layers.{l}", "count": "layers"}}, "rows")"),
      std::vector<std::string>{
          "family at line 4: no built-in table has the Megatron prefix 'decoder.layer.{l}' (the "
          "nearest is 'decoder.layers.{l}')"});
}

TEST(UnfamiliarNames, AreBounded) {
  std::string fields;
  for (int i = 0; i < 1000; ++i) fields += "\"zzzz" + std::to_string(i) + "\": \"1\", ";
  const std::vector<std::string> names =
      names_of(kTable, "\"layernorm_epsilon\"", fields + "\"layernorm_epsilon\"");
  ASSERT_EQ(names.size(), 41u);
  EXPECT_EQ(names.back(), "960 more names are in no built-in table");
  EXPECT_EQ(names[0], "megatron_config at line 9: no built-in table has the field 'zzzz0'");
}

}  // namespace
}  // namespace mappings
