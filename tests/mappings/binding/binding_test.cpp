// Tests a table bound to configurations: families (MTP at layers past the last, layers chosen by
// condition), spellings, sub-configurations, dialects, and what a hostile table or configuration
// cannot do.
#include "mappings/binding/binding.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "bridge/io/base/error.h"
#include "mappings/table/table.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

// The shapes that tables with experts, latent attention or vision need: a sub-configuration, two
// families over the same rows, conditions on the layer, spellings by spec.
const char* const kTable = R"json({
  "architectures": ["T"],
  "config_root": "text_config",
  "values": {"first_dense": "first_k_dense_replace ?? 0"},
  "dims": {"layers": "num_hidden_layers", "hidden": "hidden_size", "depths": "mtp_layers ?? 0",
           "vision": "config.vision_config.depth ?? 0"},
  "dialects": [{"P": "model."}, {"P": ""}, {"P": "model.language_model."}],
  "families": {
    "decoder": {"megatron": "decoder.layers.{l}", "hf": "{P}layers.{l}", "count": "layers"},
    "mtp": {"megatron": "mtp.layers.{l}.transformer_layer", "hf": "{P}layers.{l + num_hidden_layers}",
            "count": "depths"},
    "mtp_head": {"megatron": "mtp.layers.{l}", "hf": "{P}layers.{l + layers}", "count": "depths"},
    "vision": {"megatron": "vision_model.decoder.layers.{l}", "hf": "visual.blocks.{l}", "count": "vision"}
  },
  "per_layer_keys": "first_dense > 0",
  "rows": [
    ["embedding.word_embeddings.weight", "vocab", "{P}embed.weight [vocab_size, hidden]"],
    ["{L}.mlp.linear_fc1.layer_norm_weight", "copy", "{H}.norm.weight [hidden]",
      {"family": "decoder", "when": "l < first_dense", "local": "{L}.pre_mlp_layernorm.weight"}],
    ["{L}.pre_mlp_layernorm.weight", "copy", "{H}.norm.weight [hidden]",
      {"family": ["decoder"], "when": "l >= first_dense", "aliases": ["{L}.mlp.linear_fc1.layer_norm_weight"]}],
    ["{L}.mlp.router.expert_bias", "copy", "{H}.gate.bias [hidden / 8 + l]", {"family": ["decoder", "mtp"], "keep": "F32"}],
    ["{L}.eh_proj.weight", "copy", "{H}.eh_proj.weight [hidden, 2 * hidden]", {"family": "mtp_head"}],
    ["{L}.norm.weight", "copy", "{H}.norm.weight [hidden]", {"family": "vision"}]
  ],
  "drop": [["{H}.embed_tokens.weight", "copy of the embedding", {"family": "mtp_head", "equals": "{P}embed.weight"}]],
  "megatron_config": {"num_layers": "layers", "moe_layer_freq": "[0] * first_dense + [1] * (layers - first_dense)",
                  "list" : [ 1, {"a" : "=hidden"}, "text", "='=' " ], "number" : 2.5
}
})json";

const char* const kConfig = R"({"vision_config": {"depth": 2}, "text_config":
  {"num_hidden_layers": 3, "hidden_size": 16, "vocab_size": 10, "first_k_dense_replace": 1, "mtp_layers": 2}})";

TEST(Binding, FamiliesAndConditions) {
  const Table table = parse_table(kTable, "t");
  const Binding binding(table, Json::parse(kConfig));
  std::vector<std::string> lines;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    std::string line =
        tensor.name + " <- " + tensor.hf[0].name + " " + bridge::shape_text(tensor.hf[0].shape);
    if (tensor.family != nullptr) {
      line += " " + tensor.family->name + " " + std::to_string(tensor.layer) + "/" +
              std::to_string(tensor.layer_count);
    }
    lines.push_back(line);
  });
  const std::vector<std::string> expected = {
      "embedding.word_embeddings.weight <- model.embed.weight [10, 16]",
      "decoder.layers.0.mlp.linear_fc1.layer_norm_weight <- model.layers.0.norm.weight [16] "
      "decoder 0/3",
      "decoder.layers.1.pre_mlp_layernorm.weight <- model.layers.1.norm.weight [16] decoder 1/3",
      "decoder.layers.2.pre_mlp_layernorm.weight <- model.layers.2.norm.weight [16] decoder 2/3",
      "decoder.layers.0.mlp.router.expert_bias <- model.layers.0.gate.bias [2] decoder 0/3",
      "decoder.layers.1.mlp.router.expert_bias <- model.layers.1.gate.bias [3] decoder 1/3",
      "decoder.layers.2.mlp.router.expert_bias <- model.layers.2.gate.bias [4] decoder 2/3",
      "mtp.layers.0.transformer_layer.mlp.router.expert_bias <- model.layers.3.gate.bias [2] mtp "
      "0/2",
      "mtp.layers.1.transformer_layer.mlp.router.expert_bias <- model.layers.4.gate.bias [3] mtp "
      "1/2",
      "mtp.layers.0.eh_proj.weight <- model.layers.3.eh_proj.weight [16, 32] mtp_head 0/2",
      "mtp.layers.1.eh_proj.weight <- model.layers.4.eh_proj.weight [16, 32] mtp_head 1/2",
      "vision_model.decoder.layers.0.norm.weight <- visual.blocks.0.norm.weight [16] vision 0/2",
      "vision_model.decoder.layers.1.norm.weight <- visual.blocks.1.norm.weight [16] vision 1/2",
  };
  EXPECT_EQ(lines, expected);
  EXPECT_TRUE(binding.per_layer_keys());
  EXPECT_EQ(binding.dim("hidden"), 16);
  EXPECT_THROW(binding.dim("num_layers"), bridge::Error);
  EXPECT_THROW(binding.dim("tied"), bridge::Error);
}

TEST(Binding, Spellings) {
  const Table table = parse_table(kTable, "t");
  const Binding binding(table, Json::parse(kConfig));
  std::map<std::string, std::vector<std::string>> te, local;
  binding.for_each_tensor(2, false, [&](const LogicalTensor& t) { te[t.hf[0].name] = t.aliases; });
  std::map<std::string, std::string> names;
  binding.for_each_tensor(2, true, [&](const LogicalTensor& t) {
    local[t.hf[0].name] = t.aliases;
    names[t.hf[0].name] = t.name;
  });
  const std::string dense = "model.language_model.layers.0.norm.weight";
  EXPECT_EQ(te[dense], std::vector<std::string>{"decoder.layers.0.pre_mlp_layernorm.weight"});
  EXPECT_EQ(local[dense],
            std::vector<std::string>{"decoder.layers.0.mlp.linear_fc1.layer_norm_weight"});
  EXPECT_EQ(names[dense], "decoder.layers.0.pre_mlp_layernorm.weight");
  EXPECT_EQ(te["model.language_model.layers.1.norm.weight"],
            std::vector<std::string>{"decoder.layers.1.mlp.linear_fc1.layer_norm_weight"});
}

TEST(Binding, DialectWithMostNames) {
  const Table table = parse_table(kTable, "t");
  const Binding binding(table, Json::parse(kConfig));
  const auto choose = [&](const std::string& start) {
    return binding.choose_dialect([&](std::string_view name) { return name.starts_with(start); });
  };
  EXPECT_EQ(choose("layers."), 1u);
  EXPECT_EQ(choose("model.language_model."), 2u);
  EXPECT_EQ(choose("visual."), 0u);  // no difference, so the first wins
  EXPECT_EQ(choose("nothing"), 0u);
}

// Two spellings of the same names, told apart by the first tensor whose shape only one of them has.
TEST(Binding, DialectWithMostShapes) {
  const Table table = parse_table(R"({
    "architectures": ["A"],
    "dims": {"wide": "w", "narrow": "n"},
    "dialects": [{"form": "plain"}, {"form": "transposed"}],
    "rows": [
      ["a", "copy", "a [wide, narrow]", {"when": "form == 'plain'"}],
      ["a", "transpose", "a [narrow, wide]", {"when": "form == 'transposed'"}],
      ["b", "copy", "b [wide, wide]"]
    ]
  })",
                                  "t");
  const Binding binding(table, Json::parse(R"({"w": 4, "n": 2})"));
  const auto choose = [&](const bridge::Shape& a) {
    return binding.choose_dialect([](std::string_view) { return true; },
                                  [&](const HfTensorSpec& spec) {
                                    return spec.shape == (spec.name == "a" ? a : spec.shape);
                                  });
  };
  EXPECT_EQ(choose({4, 2}), 0u);
  EXPECT_EQ(choose({2, 4}), 1u);
  EXPECT_EQ(choose({3, 3}), 0u);  // neither, which the match reports
  EXPECT_EQ(binding.choose_dialect([](std::string_view) { return true; }), 0u);
}

TEST(Binding, DropsAndConfiguration) {
  const Table table = parse_table(kTable, "t");
  const Binding binding(table, Json::parse(kConfig));
  std::vector<std::string> drops;
  binding.for_each_drop(1,
                        [&](const DroppedTensor& t) { drops.push_back(t.name + "=" + t.equals); });
  EXPECT_EQ(drops, (std::vector<std::string>{"layers.3.embed_tokens.weight=embed.weight",
                                             "layers.4.embed_tokens.weight=embed.weight"}));
  EXPECT_EQ(binding.megatron_config("bf16"),
            Json::parse(R"({"num_layers": 3, "moe_layer_freq": [0, 1, 1],
                            "list": [1, {"a": 16}, "text", "="], "number": 2.5,
                            "share_embeddings_and_output_weights": false})"));
}

TEST(Binding, OutlivesItsConfiguration) {
  const Table table = parse_table(kTable, "t");
  std::optional<Binding> first(std::in_place, table, Json::parse(kConfig));
  const Binding copy = *first;
  first.reset();
  int64_t tensors = 0;
  copy.for_each_tensor(0, false, [&](const LogicalTensor&) { ++tensors; });
  EXPECT_EQ(tensors, 13);
}

struct BadConfig {
  const char* pointer;  // into kConfig
  const char* value;    // JSON; empty: erased
  const char* message;
};

TEST(Binding, RefusesConfigurations) {
  const BadConfig kBad[] = {
      {"/text_config", "", "config.json: text_config is missing or no object"},
      {"/text_config", "[]", "config.json: text_config is missing or no object"},
      {"/text_config/num_hidden_layers", "", "config.json: num_hidden_layers is missing"},
      {"/text_config/num_hidden_layers", "\"3\"", "\"3\" is not an integer"},
      {"/text_config/num_hidden_layers", "-1", "config.json: layers is -1"},
      {"/text_config/num_hidden_layers", "2.5", "2.5 is not an integer"},
      {"/text_config/num_hidden_layers", "100001", "100001 layers (0 to 100000)"},
      {"/text_config/num_hidden_layers", "1e300", "is not an integer"},
      {"/text_config/num_hidden_layers", "18446744073709551615", "out of range"},
      {"/text_config/vocab_size", "0",
       "t: row at line 17: model.embed.weight: shape [0, 16] by config.json"},
      {"/text_config/vocab_size", "", "t: row at line 17: vocab_size is missing"},
      {"/text_config/vocab_size", "9223372036854775807", "overflows 64 bits"},
      {"/text_config/hidden_size", "9223372036854775807",
       "model.embed.weight: number of elements overflows"},
      {"/text_config/hidden_size", "15", "15 is not a multiple of 8"},
      {"/text_config/first_k_dense_replace", "\"a\"", "is not a number"},
      {"/vision_config/depth", "true", "true is not an integer"},
  };
  const Table table = parse_table(kTable, "t");
  for (const BadConfig& bad : kBad) {
    Json config = Json::parse(kConfig);
    const Json::json_pointer pointer(bad.pointer);
    if (std::string(bad.value).empty()) {
      config[pointer.parent_pointer()].erase(pointer.back());
    } else {
      config[pointer] = Json::parse(bad.value);
    }
    bridge::expect_error(bridge::Code::kBadInput, bad.message,
                         [&] { const Binding binding(table, config); });
  }
  EXPECT_THROW(Binding(table, Json::parse("[]")), bridge::Error);
}

// Rows that collide only under certain configurations, and shapes that do not fit.
TEST(Binding, RefusesWhatTheNumbersShow) {
  const auto message = [](const std::string& rows, const std::string& families = "") {
    const std::string decoder =
        R"("decoder": {"megatron": "decoder.layers.{l}", "hf": "layers.{l}", "count": "2"})";
    const std::string text =
        R"({"architectures": ["T"], "dialects": [{"P": "layers."}], "families": {)" + decoder +
        families + "}, \"rows\": [" + rows + "]}";
    const Table table = parse_table(text, "t");
    try {
      const Binding binding(table, Json::object());
      return std::string("accepted");
    } catch (const bridge::Error& e) {
      EXPECT_EQ(e.code(), bridge::Code::kBadInput);
      return e.message();
    }
  };
  const std::string mtp =
      R"(, "mtp": {"megatron": "mtp.layers.{l}.x", "hf": "layers.{l + 1}", "count": "1"})";
  const std::tuple<std::string, std::string, std::string> kCases[] = {
      {R"(["{L}.a", "copy", "{H}.w [1]", {"when": "l >= 0"}], ["{L}.b", "copy", "{H}.w [1]", {"when": "l == 1"}])",
       "", "HF name 'layers.1.w' twice"},
      {R"(["{L}.a", "copy", "{H}.v [1]", {"when": "l >= 0"}], ["{L}.a", "copy", "{H}.w [1]", {"when": "l == 1"}])",
       "", "Megatron name 'decoder.layers.1.a' twice"},
      {R"(["{L}.a", "copy", "{H}.w [1]", {"family": ["decoder", "mtp"]}])", mtp,
       "HF name 'layers.1.w' twice"},
      {R"(["{L}.a", "copy", "{H}.w [1]"], ["x", "copy", "{P}0.w [1]"])", "",
       "HF name 'layers.0.w' twice"},
      {R"(["{L}.a", "copy", "{H}.w [1]"], ["decoder.layers.1.a", "copy", "x [1]"])", "",
       "Megatron name 'decoder.layers.1.a' twice"},
      {R"(["a", "concat", ["x [2, 3]", "y [2, 4]"]])", "", "[2, 3] and [2, 4] cannot be joined"},
      {R"(["a", "concat", ["x [2, 3]", "y [4, 3]"], {"gated": true}])", "",
       "gated halves of 2 and 4 rows"},
      {R"(["a", "qkv", ["q [8, 3]", "k [4, 3]", "v [4, 3]"], {"groups": "3"}])", "",
       "8 rows do not divide into 3"},
      {R"(["a", "qkv", ["q [8, 3]", "k [4, 3]", "v [4, 3]"], {"groups": "0"}])", "",
       "0 query groups"},
      {R"(["a", "copy", "x [0 - 1]"])", "", "shape [-1]"},
  };
  for (const auto& [rows, families, expected] : kCases) {
    const std::string text = message(rows, families);
    EXPECT_NE(text.find(expected), std::string::npos) << text;
  }
  const std::string negative =
      R"(, "mtp": {"megatron": "mtp.layers.{l}.x", "hf": "layers.{l - 1}", "count": "1"})";
  EXPECT_NE(message(R"(["{L}.a", "copy", "{H}.w [1]", {"family": "mtp"}])", negative)
                .find("layer index -1 is negative"),
            std::string::npos);
  std::string many = R"(["{L}.a", "copy", "{H}.a [1]", {"family": "big"}])";
  for (int i = 1; i < 50; ++i) {
    many += fmt::format(R"(, ["{{L}}.b{0}", "copy", "{{H}}.b{0} [1]", {{"family": "big"}}])", i);
  }
  const std::string big = R"(, "big": {"megatron": "x.{l}", "hf": "x.{l}", "count": "100000"})";
  EXPECT_NE(message(many, big).find("5000000 tensors (at most 4000000)"), std::string::npos);
}

}  // namespace
}  // namespace mappings
