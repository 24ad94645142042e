// The section quantization_groups of a table: schemes of each group, its values and refusals.
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/bad_table.h"

namespace mappings {
namespace {

constexpr const char* kTable = R"({
  "architectures": ["Grouped"],
  "dims": {"wide": "64"},
  "quantization": [
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "grouped": true, "when": "rows", "per": "row", "scale_dtypes": ["F32"]},
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".weight_scale", "grouped": true, "when": "!rows", "block": ["1", "group.size"], "scale_dtypes": ["F32"]}
  ],
  "quantization_groups": {
    "groups": "quantization_config.config_groups ?? null", "ignore": "quantization_config.ignore ?? null",
    "values": {"rows": "group.size == null"},
    "refuse": [["(group.size ?? 1) == 7", "blocks of {group.size} are not supported"]]
  },
  "rows": [["decoder.weight", "copy", "a.weight [wide, wide]"]],
  "megatron_config": {"num_layers": "1"}
})";

Binding bound(const std::string& quantization) {
  static const Table table = parse_table(kTable, "grouped.jsonc");
  return {table, Json::parse(R"({"quantization_config": )" + quantization + "}")};
}

TEST(QuantizationGroups, EachHasItsOwnSchemes) {
  const Binding binding = bound(R"({"ignore": ["c"], "config_groups": {
      "x": {"targets": ["a"], "size": 32}, "y": {"targets": ["Linear"]}}})");
  const auto& schemes = binding.block_schemes();
  ASSERT_EQ(schemes.size(), 2u);
  EXPECT_EQ(schemes[0].group, 0);
  EXPECT_EQ(schemes[0].block_columns, 32);
  EXPECT_EQ(schemes[1].group, 1);
  EXPECT_EQ(schemes[1].quantization->per, ScalePer::kRow);
  ASSERT_NE(binding.quantization_targets(), nullptr);
  EXPECT_EQ(binding.quantization_targets()->of("a").group, 0);
  EXPECT_EQ(binding.quantization_targets()->of("b").group, 1);
  EXPECT_EQ(binding.quantization_targets()->of("c").group, QuantizationTargets::kNone);
  EXPECT_EQ(module_of("a.b.weight"), "a.b");
  EXPECT_EQ(module_of("weight"), "");
}

TEST(QuantizationGroups, NoneAreNeeded) {
  const Binding binding = bound("null");
  EXPECT_TRUE(binding.block_schemes().empty());
  EXPECT_EQ(binding.quantization_targets(), nullptr);
}

TEST(QuantizationGroups, AGroupIsRefused) {
  const auto message = [](const std::string& quantization, bridge::Code code) -> std::string {
    try {
      bound(quantization);
    } catch (const bridge::Error& error) {
      EXPECT_EQ(error.code(), code) << error.message();
      return error.message();
    }
    return "accepted";
  };
  EXPECT_EQ(message(R"({"config_groups": {"x": {"targets": []}, "y": {"targets": [], "size": 7}}})",
                    bridge::Code::kUnsupported),
            "config.json: blocks of 7 are not supported");
  EXPECT_NE(message(R"({"config_groups": {"x": {}}})", bridge::Code::kBadInput)
                .find("no list of targets"),
            std::string::npos);
  EXPECT_NE(message(R"({"config_groups": [1]})", bridge::Code::kBadInput)
                .find("config_groups is no object"),
            std::string::npos);
}

TEST(QuantizationGroups, BadTables) {
  const BadTable kBad[] = {
      {"unknown key", R"("values": {"rows")", R"("value": {"rows")", "value"},
      {"no ignore", R"(, "ignore": "quantization_config.ignore ?? null")", "",
       "'quantization_groups': 'groups' and 'ignore' are needed"},
      {"a value twice", R"("values": {"rows": "group.size == null"})", R"("values": {"wide": "1"})",
       "'wide' is defined already"},
      {"the group", R"("values": {"rows": "group.size == null"})", R"("values": {"group": "1"})",
       "'group' is defined already"},
      {"a refusal", R"([["(group.size ?? 1) == 7")", R"([["(group.size")",
       "'quantization_groups': "},
  };
  for (const BadTable& bad : kBad) {
    SCOPED_TRACE(bad.name);
    expect_refused(kTable, bad);
  }
}

}  // namespace
}  // namespace mappings
