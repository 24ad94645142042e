// Tests experts, families with variables, multi-token prediction and block quantization: a small
// table that has them all, the result under a configuration, and ways in which it can be wrong.
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
  "config_root": "text",
  "dims": {"layers": "num_layers", "experts": "num_experts", "depths": "mtp_layers ?? 0"},
  "dialects": [{"P": "model."}, {"P": ""}],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers",
                "let": {"moe": "l >= 1", "width": "moe ? 4 : 8 + l"}},
    "mtp": {"megatron": "mtp.layers.{l}.transformer_layer",
            "aliases": ["mtp.layers.{l}.mtp_model_layer", "old.mtp.{l}"],
            "hf": "{P}layers.{l + layers}", "count": "depths", "let": {"moe": "true", "width": "2"}, "mtp": true},
    "frame": {"megatron": "mtp.layers.{l}", "hf": "{P}layers.{l + layers}", "count": "depths", "mtp": true}
  },
  "mtp": "mtp_layers",
  "quantization": [
    {"dtype": "F8_E4M3", "weight": ".weight", "scale": ".scale", "block": ["block[0] ?? 16", "block[1] ?? 8"],
     "scale_dtypes": ["F32", "F8_E8M0"]}
  ],
  "rows": [
    ["{L}.mlp.experts.experts.{e}.linear_fc1.weight", "concat",
      ["{H}.experts.{e}.gate.weight [width, 3]", "{H}.experts.{e}.up.weight [width, 3]"],
      {"gated": true, "when": "moe", "experts": "experts", "family": ["decoder", "mtp"],
       "aliases": ["{L}.mlp.experts.local_experts.{e}.linear_fc1.weight"]}],
    ["{L}.mlp.fc1.weight", "copy", "{H}.up.weight [width, 3]", {"when": "!moe", "family": "decoder"}],
    ["{L}.norm.weight", "copy", "{H}.norm.weight [3]", {"family": "frame"}],
    ["embedding.weight", "vocab", "{P}embed.weight [7, 3]"]
  ],
  "drop": [
    ["{H}.embed.weight", "shared", {"family": "frame", "equals": "{P}embed.weight", "regenerate": true}]
  ],
  "extra_state": [
    ["{L}.mlp.experts.experts.{e}.linear_fc1", {"when": "moe", "experts": "experts", "family": ["decoder", "mtp"]}],
    ["{L}.norm", {"family": "frame"}]
  ]
})";

Json config_of(const std::string& text) {
  return Json::parse(R"({"text": {"num_layers": 2, "num_experts": 2, "mtp_layers": 1}})", nullptr)
      .patch(Json::parse(text));
}

struct Seen {
  std::vector<std::string> lines;
  std::vector<std::string> aliases;  // of the last tensor
};

Seen tensors_of(const Binding& binding) {
  Seen seen;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    std::string line =
        tensor.name + " <- " + tensor.hf.back().name + " " + bridge::shape_text(tensor.hf[0].shape);
    if (tensor.expert >= 0) {
      line +=
          " expert " + std::to_string(tensor.expert) + "/" + std::to_string(tensor.expert_count);
    }
    seen.lines.push_back(line);
    if (!tensor.aliases.empty()) seen.aliases = tensor.aliases;
  });
  return seen;
}

TEST(ExpertRows, EveryLayerAndExpert) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, config_of("[]"));
  const Seen seen = tensors_of(binding);
  const std::vector<std::string> expected = {
      "decoder.layers.1.mlp.experts.experts.0.linear_fc1.weight <- "
      "model.layers.1.experts.0.up.weight [4, 3] expert 0/2",
      "decoder.layers.1.mlp.experts.experts.1.linear_fc1.weight <- "
      "model.layers.1.experts.1.up.weight [4, 3] expert 1/2",
      "mtp.layers.0.transformer_layer.mlp.experts.experts.0.linear_fc1.weight <- "
      "model.layers.2.experts.0.up.weight [2, 3] expert 0/2",
      "mtp.layers.0.transformer_layer.mlp.experts.experts.1.linear_fc1.weight <- "
      "model.layers.2.experts.1.up.weight [2, 3] expert 1/2",
      "decoder.layers.0.mlp.fc1.weight <- model.layers.0.up.weight [8, 3]",
      "mtp.layers.0.norm.weight <- model.layers.2.norm.weight [3]",
      "embedding.weight <- model.embed.weight [7, 3]",
  };
  EXPECT_EQ(seen.lines, expected);
  // Every prefix is combined with every spelling, except for the tensor's own name.
  const std::vector<std::string> aliases = {
      "mtp.layers.0.transformer_layer.mlp.experts.local_experts.1.linear_fc1.weight",
      "mtp.layers.0.mtp_model_layer.mlp.experts.experts.1.linear_fc1.weight",
      "mtp.layers.0.mtp_model_layer.mlp.experts.local_experts.1.linear_fc1.weight",
      "old.mtp.0.mlp.experts.experts.1.linear_fc1.weight",
      "old.mtp.0.mlp.experts.local_experts.1.linear_fc1.weight",
  };
  EXPECT_EQ(seen.aliases, aliases);
  std::vector<std::string> modules;
  binding.for_each_extra_state(/*local_spec=*/false, [&](const ExtraStateModule& module) {
    modules.push_back(module.module + " " + std::to_string(module.expert) + "/" +
                      std::to_string(module.expert_count));
  });
  EXPECT_EQ(modules, (std::vector<std::string>{
                         "decoder.layers.1.mlp.experts.experts.0.linear_fc1 0/2",
                         "decoder.layers.1.mlp.experts.experts.1.linear_fc1 1/2",
                         "mtp.layers.0.transformer_layer.mlp.experts.experts.0.linear_fc1 0/2",
                         "mtp.layers.0.transformer_layer.mlp.experts.experts.1.linear_fc1 1/2",
                         "mtp.layers.0.norm -1/0"}));
}

// Hugging Face names may number the experts differently.
TEST(ExpertRows, NumbersOfTheHfSide) {
  const auto names = [](const std::string& number) {
    std::string text = kGood;
    for (const std::string part : {"{H}.experts.{e}.gate", "{H}.experts.{e}.up"}) {
      text.replace(text.find(part) + 12, 3, "{" + number + "}");
    }
    const Table table = parse_table(text, "t");
    return tensors_of(Binding(table, config_of("[]"))).lines;
  };
  EXPECT_EQ(names("3 * e + l"), names("e * 3 + 1 + (l - 1)"));
  EXPECT_EQ(names("3 * e + l")[1],
            "decoder.layers.1.mlp.experts.experts.1.linear_fc1.weight <- "
            "model.layers.1.experts.4.up.weight [4, 3] expert 1/2");
  for (const auto& [number, message] :
       {std::pair("e - 1", "expert number -1 is negative"),
        std::pair("0", "HF name 'model.layers.1.experts.0.gate.weight' twice"),
        std::pair("e / 2", "1 is not a multiple of 2")}) {
    bridge::expect_error(bridge::Code::kBadInput, message, [&, number = number] { names(number); });
  }
}

TEST(ExpertRows, WithoutExperts) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(
      table, config_of(R"([{"op": "replace", "path": "/text/num_experts", "value": 0}])"));
  EXPECT_EQ(tensors_of(binding).lines.size(), 3u);
}

TEST(MtpDepths, KeptAndDropped) {
  const Table table = parse_table(kGood, "t");
  const Json config = config_of(R"([{"op": "replace", "path": "/text/mtp_layers", "value": 3}])");
  const Binding kept(table, config);
  EXPECT_EQ(kept.promised_mtp_depths(), 3);
  EXPECT_EQ(kept.dim("depths"), 3);
  std::set<std::string> drops;
  kept.for_each_drop(1, [&](const DroppedTensor& tensor) {
    EXPECT_TRUE(tensor.drop->regenerate);
    drops.insert(tensor.name + " " + tensor.equals);
  });
  EXPECT_EQ(drops, (std::set<std::string>{"layers.2.embed.weight embed.weight",
                                          "layers.3.embed.weight embed.weight",
                                          "layers.4.embed.weight embed.weight"}));
  const Binding dropped(table, config, {.drop_mtp = true});
  EXPECT_EQ(dropped.promised_mtp_depths(), 3);
  EXPECT_EQ(dropped.dim("depths"), 0);
  for (const std::string& line : tensors_of(dropped).lines)
    EXPECT_FALSE(line.starts_with("mtp")) << line;
  // Both MTP families have one HF prefix, which is known beyond the promised depths too.
  EXPECT_EQ(dropped.mtp_hf_prefixes(0, 0), std::vector<std::string>{"model.layers.2."});
  EXPECT_EQ(dropped.mtp_hf_prefixes(1, 7), std::vector<std::string>{"layers.9."});
  for (const char* nothing :
       {R"([{"op": "remove", "path": "/text/mtp_layers"}])",
        R"([{"op": "replace", "path": "/text/mtp_layers", "value": null}])"}) {
    EXPECT_EQ(Binding(table, config_of(nothing)).promised_mtp_depths(), 0);
    EXPECT_EQ(Binding(table, config_of(nothing), {.drop_mtp = true}).dim("depths"), 0);
  }
}

TEST(BlockSchemes, NamesAndShapesOfScales) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, config_of("[]"));
  ASSERT_EQ(binding.block_schemes().size(), 1u);
  const BlockScheme& scheme = binding.block_schemes()[0];
  EXPECT_EQ(scheme.scale_name("a.weight"), "a.scale");
  EXPECT_EQ(scheme.scale_name("a.weight.bias"), std::nullopt);
  EXPECT_EQ(scheme.scale_name(".weight"), ".scale");
  EXPECT_EQ(scheme.scale_name("eight"), std::nullopt);
  // Blocks of 16 x 8; the last ones are partial.
  EXPECT_EQ(scheme.scale_shape({32, 16}), (bridge::Shape{2, 2}));
  EXPECT_EQ(scheme.scale_shape({33, 17}), (bridge::Shape{3, 3}));
  EXPECT_EQ(scheme.scale_shape({1, 8}), (bridge::Shape{1, 1}));
  const Binding other(table,
                      config_of(R"([{"op": "add", "path": "/text/block", "value": [128, 64]}])"));
  EXPECT_EQ(other.block_schemes()[0].block_rows, 128);
  EXPECT_EQ(other.block_schemes()[0].block_columns, 64);
}

TEST(ExpertRows, RefusesConfigurations) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({"op": "replace", "path": "/text/num_experts", "value": -1})",
       "config.json: experts is -1"},
      {R"({"op": "replace", "path": "/text/num_experts", "value": 100001})",
       "config.json: 'experts': 100001 experts (0 to 100000)"},
      {R"({"op": "replace", "path": "/text/num_experts", "value": 2.5})", "2.5 is not an integer"},
      {R"({"op": "replace", "path": "/text/num_experts", "value": 100000})", "accepted"},
      {R"({"op": "replace", "path": "/text/mtp_layers", "value": -1})",
       "config.json: mtp_layers is not a number of layers (0 to 100000)"},
      {R"({"op": "replace", "path": "/text/mtp_layers", "value": "1"})",
       "mtp_layers is not a number"},
      {R"({"op": "replace", "path": "/text/mtp_layers", "value": 100001})",
       "mtp_layers is not a number"},
      {R"({"op": "add", "path": "/text/block", "value": [0, 8]})",
       "config.json: quantization blocks of 0 x 8 (1 to 262144 elements)"},
      {R"({"op": "add", "path": "/text/block", "value": [128, -1]})", "blocks of 128 x -1"},
      {R"({"op": "add", "path": "/text/block", "value": [513, 512]})", "blocks of 513 x 512"},
      {R"({"op": "add", "path": "/text/block", "value": [9223372036854775807, 2]})",
       "blocks of 9223372036854775807 x 2"},
      {R"({"op": "add", "path": "/text/block", "value": 128})", "is no list"},
  };
  const Table table = parse_table(kGood, "t");
  for (const auto& [change, message] : kCases) {
    std::string text = "accepted";
    try {
      const Binding binding(table, config_of("[" + std::string(change) + "]"));
    } catch (const bridge::Error& e) {
      EXPECT_EQ(e.code(), bridge::Code::kBadInput);
      text = e.message();
    }
    EXPECT_NE(text.find(message), std::string::npos) << text;
  }
  // Experts count towards the limit on tensors: 30 layers of 100,000 and their extra states.
  const Json many = config_of(R"([{"op": "replace", "path": "/text/num_experts", "value": 100000},
                                  {"op": "replace", "path": "/text/num_layers", "value": 30}])");
  bridge::expect_error(bridge::Code::kBadInput, "6200034 tensors (at most 4000000)",
                       [&] { const Binding binding(table, many); });
}

const BadTable kBad[] = {
    {"expert_without_option", R"("experts": "experts", "family": ["decoder", "mtp"],
       "aliases")",
     R"("family": ["decoder", "mtp"],
       "aliases")",
     "unknown placeholder {e}"},
    {"expert_missing_in_megatron", "experts.experts.{e}.linear_fc1.weight\", \"concat",
     "experts.experts.linear_fc1.weight\", \"concat", "must have {e} once, between dots"},
    {"expert_missing_in_hf", "{H}.experts.{e}.up.weight", "{H}.experts.up.weight",
     "row at line 20: '{H}.experts.up.weight' must have {e} once"},
    {"expert_missing_in_alias", "local_experts.{e}.linear_fc1", "local_experts.linear_fc1",
     "must have {e} once"},
    {"expert_twice", "{H}.experts.{e}.up.weight", "{H}.experts.{e}.{e}.weight",
     "unknown placeholder {e}"},
    {"expert_number_in_megatron", "local_experts.{e}.linear_fc1",
     "local_experts.{e + 1}.linear_fc1", "unknown placeholder {e + 1}"},
    {"expert_number_expression", "{H}.experts.{e}.up.weight", "{H}.experts.{e +}.up.weight",
     "row at line 20: expression 'e +'"},
    {"expert_in_a_word", "{H}.experts.{e}.up.weight", "{H}.experts.x{e}.up.weight", "between dots"},
    {"expert_at_the_end", "{H}.experts.{e}.up.weight", "{H}.experts.up.{e}", "between dots"},
    {"expert_before_a_number", "experts.experts.{e}.linear_fc1.weight\", \"concat",
     "experts.{e}.0.linear_fc1.weight\", \"concat", "has a number or placeholder after {e}"},
    {"expert_before_the_layer", "[\"{L}.mlp.experts.experts.{e}.linear_fc1.weight\"",
     "[\"experts.{e}.{L}.linear_fc1.weight\"", "has a number or placeholder after {e}"},
    {"expert_expression", R"("experts": "experts", "family": ["decoder", "mtp"],
       "aliases")",
     R"("experts": "experts +", "family": ["decoder", "mtp"],
       "aliases")",
     "row at line 20: expression"},
    {"expert_number", R"("experts": "experts", "family": ["decoder", "mtp"],
       "aliases")",
     R"("experts": 4, "family": ["decoder", "mtp"],
       "aliases")",
     "must be a string"},
    {"expert_module", R"({"when": "moe", "experts": "experts", "family": ["decoder", "mtp"]}])",
     R"({"when": "moe", "family": ["decoder", "mtp"]}])",
     "extra_state at line 32: unknown placeholder {e}"},
    {"expert_dialect", R"([{"P": "model."}, {"P": ""}])", R"([{"e": "model."}])",
     "cannot name a dialect"},
    {"alias_prefix", "\"old.mtp.{l}\"", "\"old.mtp\"", "must have {l} once"},
    {"aliases_no_list", R"(["mtp.layers.{l}.mtp_model_layer", "old.mtp.{l}"])", R"("old.{l}")",
     "must be a list"},
    {"let_expression", "8 + l\"", "8 +\"", "expression"},
    {"let_no_object", R"({"moe": "l >= 1", "width": "moe ? 4 : 8 + l"})", "[]", "'let'"},
    {"let_number", R"("width": "2")", R"("width": 2)", "must be a string"},
    {"let_hides_a_dim", R"("width": "2")", R"("experts": "2")",
     "family at line 9: 'experts' is defined already"},
    {"let_hides_the_layer", R"("width": "2")", R"("l": "2")", "'l' is defined already"},
    {"let_name", R"("width": "2")", R"("w-d": "2")", "'w-d' is no identifier"},
    {"mtp_without_key", R"("mtp": "mtp_layers",)", "", "need the table's 'mtp'"},
    {"mtp_text", R"("mtp": true},
    "frame")",
     R"("mtp": "yes"},
    "frame")",
     "'mtp' must be true or false"},
    {"mtp_key_number", R"("mtp": "mtp_layers")", R"("mtp": 1)", "must be a string"},
    {"regenerate_alone", R"("equals": "{P}embed.weight", )", "",
     "drop at line 29: 'regenerate' needs 'equals'"},
    {"quantization_no_list", R"("quantization": [)", R"("quantization": 7, "warn": [)",
     "'quantization' must be a list"},
    {"quantization_key", R"("scale": ".scale")", R"("scales": ".scale")",
     "quantization at line 16: unknown key"},
    {"quantization_dtype", R"("dtype": "F8_E4M3")", R"("dtype": "BF16")",
     "blocks of BF16 are not supported"},
    {"quantization_no_dtype", R"("dtype": "F8_E4M3", )", "",
     "quantization at line 16: unknown dtype ''"},
    {"quantization_suffix", R"("scale": ".scale")", R"("scale": ".weight")", "different suffixes"},
    {"quantization_characters", R"("scale": ".scale")", R"("scale": "/scale")",
     "different suffixes"},
    {"quantization_block", R"(["block[0] ?? 16", "block[1] ?? 8"])", R"(["16"])",
     "two expressions"},
    {"quantization_no_block", R"("block": ["block[0] ?? 16", "block[1] ?? 8"],)", "",
     "two expressions"},
    {"quantization_expression", "block[1] ?? 8", "block[1] ??",
     "quantization at line 16: expression"},
    {"quantization_scales", R"(["F32", "F8_E8M0"])", R"(["F16"])",
     "scales of F16 are not supported"},
    {"quantization_no_scales", R"(,
     "scale_dtypes": ["F32", "F8_E8M0"])",
     "", "'scale_dtypes'"},
    {"quantization_twice", R"("quantization": [)",
     R"("quantization": [{"dtype": "F8_E4M3", "weight": "a", "scale": "b", "block": ["1", "1"], "scale_dtypes": ["F32"]},)",
     "'dtype' F8_E4M3 twice"},
};

class BadExpertTables : public ::testing::TestWithParam<BadTable> {};

TEST_P(BadExpertTables, Refused) {
  expect_refused(kGood, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, BadExpertTables, ::testing::ValuesIn(kBad),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace mappings
