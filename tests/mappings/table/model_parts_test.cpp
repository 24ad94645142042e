// Tests the parts of a multimodal model: the rows of each part, where Megatron keys get a prefix,
// how the text model is configured and spelled by itself, and the mistakes that a table can make.
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
  "architectures": ["VL", "TextOnly"],
  "config_root": "text_config",
  "values": {"vision": "config.vision_config ?? null"},
  "dims": {"layers": "num_layers", "blocks": "vision == null ? 0 : vision.depth"},
  "dialects": [
    {"P": "model.language_model.", "joined": "no"},
    {"joined": "yes"},
    {"P": "model."},
    {"P": "model.", "joined": "yes"}
  ],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers"},
    "vision": {"megatron": "vision_model.layers.{l}", "hf": "model.visual.blocks.{l}", "count": "blocks",
               "part": "vision", "per_layer_keys": "false"},
    "mtp": {"megatron": "mtp.layers.{l}", "hf": "mtp.{l}", "count": "mtp_layers ?? 0", "mtp": true}
  },
  "mtp": "mtp_layers",
  "per_layer_keys": "true",
  "name_prefix": "vision == null ? '' : 'language_model.'",
  "text_form": {
    "config": {"architectures": ["=layers > 1 ? 'Deep' : 'TextOnly'"], "model_type": "text_only"},
    "keep": ["tie"],
    "dialect": {"P": "model."}
  },
  "rows": [
    ["embedding.weight", "vocab", "{P}embed.weight [vocab, 4]"],
    ["{L}.weight", "copy", "{H}.weight [4]", {"family": ["decoder", "vision", "mtp"]}],
    ["vision_model.patch", "copy", "model.visual.patch [4]", {"part": "vision", "when": "vision != null"}]
  ],
  "drop": [["model.visual.freq", "computed", {"part": "vision"}], ["{H}.freq", "computed", {"family": "vision"}]],
  "extra_state": [["{L}", {"family": ["decoder", "vision"]}], ["vision_model.merger", {"part": "vision"}]],
  "megatron_config": {"alone": "text_only || vision == null", "tie": "config.tie ?? false"}
})";

const char* const kVl =
    R"({"tie": true, "vision_config": {"depth": 2}, "text_config": {"num_layers": 1, "vocab": 8, "mtp_layers": 1}})";
const char* const kText = R"({"tie": true, "num_layers": 1, "vocab": 8})";

std::map<std::string, std::string> parts_of(const Binding& binding) {
  std::map<std::string, std::string> parts;
  binding.for_each_tensor(
      0, false, [&](const LogicalTensor& tensor) { parts[tensor.name] = tensor.row->part; });
  binding.for_each_drop(
      0, [&](const DroppedTensor& dropped) { parts[dropped.name] = dropped.drop->part; });
  return parts;
}

TEST(ModelParts, FamiliesGiveTheirPartToWhatTheyHave) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, Json::parse(kVl));
  EXPECT_EQ(parts_of(binding),
            (std::map<std::string, std::string>{{"embedding.weight", ""},
                                                {"decoder.layers.0.weight", ""},
                                                {"mtp.layers.0.weight", ""},
                                                {"vision_model.layers.0.weight", "vision"},
                                                {"vision_model.layers.1.weight", "vision"},
                                                {"vision_model.patch", "vision"},
                                                {"model.visual.freq", "vision"},
                                                {"model.visual.blocks.0.freq", "vision"},
                                                {"model.visual.blocks.1.freq", "vision"}}));
  EXPECT_TRUE(binding.has_parts());
  ASSERT_EQ(table.extra_state.size(), 3u);
  EXPECT_EQ(table.extra_state[0].part, "");
  EXPECT_EQ(table.extra_state[1].part, "vision");
  EXPECT_EQ(table.extra_state[2].part, "vision");
}

TEST(ModelParts, AFamilyHasLayerKeysOfItsOwn) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, Json::parse(kVl));
  EXPECT_TRUE(binding.per_layer_keys());
  EXPECT_TRUE(binding.per_layer_keys(nullptr));
  EXPECT_TRUE(binding.per_layer_keys(table.find_family("decoder")));
  EXPECT_FALSE(binding.per_layer_keys(table.find_family("vision")));
}

TEST(ModelParts, TextOnlyIsAVariableAndHasNoPrefix) {
  const Table table = parse_table(kGood, "t");
  const Binding all(table, Json::parse(kVl));
  EXPECT_EQ(all.name_prefix(), "language_model.");
  EXPECT_EQ(all.megatron_config("bf16").at("alone"), false);
  const Binding text(table, Json::parse(kVl), {.text_only = true});
  EXPECT_EQ(text.name_prefix(), "");
  EXPECT_EQ(text.megatron_config("bf16").at("alone"), true);
  EXPECT_TRUE(text.has_parts());  // a plan leaves them out and reports them
  EXPECT_EQ(parts_of(text), parts_of(all));
}

TEST(ModelParts, TheTextFormIsServedToo) {
  const Table table = parse_table(kGood, "t");
  const Binding text(table, Json::parse(kText));
  EXPECT_EQ(text.config_root(), "");
  EXPECT_EQ(text.name_prefix(), "");
  EXPECT_FALSE(text.has_parts());
  EXPECT_EQ(text.megatron_config("bf16").at("tie"), true);
  EXPECT_EQ(Binding(table, Json::parse(kVl)).config_root(), "text_config");
  // Depths that --mtp drop leaves out are counted at the top too.
  Json config = Json::parse(kText);
  config["mtp_layers"] = 1;
  EXPECT_EQ(Binding(table, config, {.drop_mtp = true}).promised_mtp_depths(), 1);
}

TEST(ModelParts, TheTextFormsConfigurationIsComputed) {
  const Table table = parse_table(kGood, "t");
  EXPECT_EQ(Binding(table, Json::parse(kVl)).text_form_config(),
            Json::parse(R"({"architectures": ["TextOnly"], "model_type": "text_only"})"));
}

TEST(ModelParts, TheTextFormKeepsOtherSpellings) {
  const Table table = parse_table(kGood, "t");
  const Binding binding(table, Json::parse(kVl));
  EXPECT_EQ(binding.text_dialect(0), 2u);
  EXPECT_EQ(binding.text_dialect(1), 3u);
  EXPECT_EQ(binding.text_dialect(2), 2u);
  EXPECT_EQ(binding.text_dialect(3), 3u);
}

TEST(ModelParts, ATableWithoutTextForm) {
  std::string text = kGood;
  const size_t at = text.find("\"text_form\"");
  text.replace(at, text.find("\"rows\"") - at, "");
  const Table table = parse_table(text, "t");
  EXPECT_THROW(Binding(table, Json::parse(kText)), bridge::Error);
  bridge::expect_error(bridge::Code::kUnsupported, "",
                       [&] { Binding(table, Json::parse(kVl)).text_dialect(0); });
}

TEST(ModelParts, APrefixIsOneOfTwo) {
  for (const char* prefix : {"'model.'", "'../'", "7", "null", "['']"}) {
    std::string text = kGood;
    const std::string good = "vision == null ? '' : 'language_model.'";
    text.replace(text.find(good), good.size(), prefix);
    const Table table = parse_table(text, "t");
    for (const bool text_only : {false, true}) {
      EXPECT_THROW(Binding(table, Json::parse(kVl), {.text_only = text_only}), bridge::Error)
          << prefix;
    }
  }
}

const BadTable kBad[] = {
    {"part_number", R"({"part": "vision", "when")", R"({"part": 7, "when")", "must be a string"},
    {"part_text", R"({"part": "vision", "when")", R"({"part": "text", "when")",
     "'text' cannot name a part"},
    {"part_empty", R"({"part": "vision", "when")", R"({"part": "", "when")",
     "'' cannot name a part"},
    {"part_name", R"("part": "vision", "per_layer)", R"("part": "a.b", "per_layer)",
     "'a.b' cannot name a part"},
    {"part_of_another", R"("computed", {"family": "vision"})",
     R"("computed", {"family": "vision", "part": "audio"})",
     "part 'audio' in family 'vision' of part 'vision'"},
    {"part_of_mtp", R"("mtp": true})", R"("mtp": true, "part": "vision"})", "no meaning for MTP"},
    {"part_of_vocab", "{P}embed.weight [vocab, 4]\"",
     "{P}embed.weight [vocab, 4]\", {\"part\": \"vision\"}", "no meaning for op vocab"},
    {"prefix_expression", "vision == null ? '' :", "vision == null ?", "expression"},
    {"layer_keys_expression", R"("per_layer_keys": "false"})", R"("per_layer_keys": "(" })",
     "expression"},
    {"form_key", R"("keep": ["tie"])", R"("keeps": ["tie"])", "unknown key 'keeps'"},
    {"form_config",
     R"("config": {"architectures": ["=layers > 1 ? 'Deep' : 'TextOnly'"], "model_type": "text_only"})",
     R"("config": [])", "must be an object"},
    {"form_expression", "=layers > 1 ?", "=layers > ?", "text_form: expression"},
    {"form_placeholder", R"("dialect": {"P": "model."})", R"("dialect": {"Q": "model."})",
     "'Q' is no placeholder"},
    {"form_dialect", R"("dialect": {"P": "model."})", R"("dialect": {"P": "other."})",
     "number 1 of 'dialects', spelled so, is none of them"},
    {"form_dialect_of_one", R"({"P": "model.", "joined": "yes"})",
     R"({"P": "m.", "joined": "yes"})", "number 2 of 'dialects'"},
    {"form_without_root", R"("config_root": "text_config",)", "", "needs 'config_root'"},
    {"variable", R"("layers": "num_layers")", R"("text_only": "1", "layers": "num_layers")",
     "'text_only' is defined already"},
};

class BadParts : public ::testing::TestWithParam<BadTable> {};

TEST_P(BadParts, Refused) {
  expect_refused(kGood, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, BadParts, ::testing::ValuesIn(kBad),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace mappings
