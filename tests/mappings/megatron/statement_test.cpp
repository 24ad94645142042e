// Compares what checkpoints say about themselves with what config.json means. The arguments come
// from Megatron-LM's real parser (data/megatron_args), the run_config.yaml files from
// Megatron-Bridge (data/bridge_run_config).
#include "mappings/megatron/statement.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "bridge/io/base/error.h"
#include "bridge/io/base/yaml.h"
#include "mappings/binding/binding.h"
#include "mappings/binding/hf_config_values.h"
#include "mappings/megatron/megatron_args.h"
#include "mappings/megatron/statement_fields.h"
#include "mappings/table/registry.h"
#include "tests/data_dir.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::filesystem::path data(const char* folder) {
  return std::filesystem::path(data_dir()) / folder;
}

Json meaning_of(const Json& config) {
  return statement_of_provider(Binding(find_table(config, ""), config).megatron_config("bf16"),
                               Absent::kDefault);
}

std::string text_of(const std::vector<FieldDifference>& differences) {
  std::string text;
  for (const FieldDifference& difference : differences) {
    text += difference.field + " " + difference.checkpoint.dump() + " " + difference.config.dump() +
            "; ";
  }
  return text;
}

struct RealModel {
  std::string name;
  Json config;
  Json arguments;
};

std::vector<RealModel> real_models() {
  std::vector<RealModel> models;
  const Json defaults = Json::parse(read_file(data("megatron_args") / "defaults.json"));
  for (const auto& entry : std::filesystem::directory_iterator(data("megatron_args"))) {
    if (entry.path().stem() == "defaults") continue;
    const Json file = Json::parse(read_file(entry.path()));
    Json arguments = defaults;
    arguments.update(file["arguments"]);
    models.push_back({entry.path().stem(), file["config"], arguments});
  }
  EXPECT_EQ(models.size(), 19U);
  return models;
}

Json real_arguments(const std::string& name) {
  for (const RealModel& model : real_models()) {
    if (model.name == name) return model.arguments;
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(Statement, ArgumentsOfTheRealParserAreWhatConfigJsonMeans) {
  for (const RealModel& model : real_models()) {
    const Json said = statement_of_arguments(model.arguments);
    const Json meant = meaning_of(model.config);
    EXPECT_EQ(text_of(compare_statements(said, meant)), "") << model.name;
    EXPECT_EQ(said["mtp_num_layers"], meant["mtp_num_layers"]) << model.name;
    for (const char* field : {"num_layers", "layernorm_epsilon", "rotary_base", "qk_layernorm",
                              "layernorm_zero_centered_gamma", "activation_func"}) {
      EXPECT_TRUE(said.contains(field)) << model.name << ": " << field;
    }
  }
}

TEST(Statement, RunConfigsThatBridgeWroteAreWhatConfigJsonMeans) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data("bridge_run_config"))) {
    if (entry.path().extension() != ".yaml") continue;
    auto config_path = entry.path();
    config_path.replace_extension(".config.json");
    const Json said = statement_of_provider(
        bridge::read_yaml_section(read_file(entry.path()), "model"), Absent::kUnknown);
    const Json meant = meaning_of(Json::parse(read_file(config_path)));
    EXPECT_EQ(text_of(compare_statements(said, meant)), "") << entry.path();
    EXPECT_TRUE(said.contains("num_layers"));
    ++count;
  }
  EXPECT_GE(count, 9);
}

TEST(Statement, ArgumentsAndRunConfigThatWeWriteAgree) {
  for (const RealModel& model : real_models()) {
    const Json provider =
        Binding(find_table(model.config, ""), model.config).megatron_config("bf16");
    const Json arguments = statement_of_arguments(megatron_args(provider, {}));
    const Json run_config = statement_of_provider(provider, Absent::kUnknown);
    EXPECT_EQ(text_of(contradictions(arguments, run_config)), "") << model.name;
    EXPECT_EQ(text_of(compare_statements(arguments, meaning_of(model.config))), "") << model.name;
  }
}

TEST(Statement, AFieldCountsWhereItsFeatureIsOn) {
  Json arguments = real_arguments("qwen3");
  arguments.update({{"q_lora_rank", 7},
                    {"rope_scaling_factor", 3.0},
                    {"linear_num_key_heads", 5},
                    {"moe_router_topk", 9},
                    {"moe_layer_freq", 2}});
  for (const char* field : {"q_lora_rank", "rope_scaling_factor", "linear_num_key_heads",
                            "moe_router_topk", "moe_layer_freq"}) {
    EXPECT_FALSE(statement_of_arguments(arguments).contains(field)) << field;
  }
  arguments["use_rope_scaling"] = true;
  EXPECT_EQ(statement_of_arguments(arguments)["rope_scaling_factor"], 3.0);
}

TEST(Statement, NullIsWhatMegatronDerives) {
  Json arguments = real_arguments("llama_one_group_a_head");
  arguments["kv_channels"] = nullptr;
  // The parser's default, which has no effect here.
  arguments["num_query_groups"] = 1;
  arguments["ffn_hidden_size"] = nullptr;
  const Json said = statement_of_arguments(arguments);
  EXPECT_EQ(said["kv_channels"], 16);
  EXPECT_EQ(said["num_query_groups"], 4);
  EXPECT_EQ(said["ffn_hidden_size"], 128);  // 64 * 4 * 2 / 3, in multiples of 64
  arguments.erase("kv_channels");
  EXPECT_FALSE(statement_of_arguments(arguments).contains("kv_channels"));
}

TEST(Statement, OneMeaningHasOneSpelling) {
  Json v3 = real_arguments("deepseek_v3");
  v3["rotary_scaling_factor"] = 1.0;
  EXPECT_EQ(statement_of_arguments(v3)["rope_type"], "rope");
  v3["moe_router_group_topk"] = 4;  // the model has 4 groups
  EXPECT_EQ(statement_of_arguments(v3)["moe_router_num_groups"], nullptr);
  Json next = real_arguments("qwen3_next");
  EXPECT_EQ(statement_of_arguments(next)["linear_attention_freq"], Json::parse("[1, 1, 1, 0]"));
  EXPECT_EQ(statement_of_arguments(next)["moe_layer_freq"], Json::parse("[1, 1, 1, 1]"));
  next["position_embedding_type"] = "mrope";
  EXPECT_EQ(statement_of_arguments(next)["position_embedding_type"], "rope");
  // Sections are those of a model of images and text; without mrope nothing reads them.
  next["mrope_section"] = {11, 11, 10};
  EXPECT_EQ(statement_of_arguments(next)["mrope_section"], Json({11, 11, 10}));
  next["position_embedding_type"] = "rope";
  EXPECT_FALSE(statement_of_arguments(next).contains("mrope_section"));
}

// Newer versions build the model from the field; --use-checkpoint-args leaves the older name beside
// it.
TEST(Statement, TheFieldsOwnNameCountsBeforeTheOlderArgument) {
  Json arguments = real_arguments("qwen3_next");
  ASSERT_EQ(arguments["layernorm_zero_centered_gamma"], true);
  arguments.update({{"apply_layernorm_1p", false}, {"norm_epsilon", 3e-5}});
  EXPECT_EQ(statement_of_arguments(arguments)["layernorm_zero_centered_gamma"], true);
  EXPECT_EQ(statement_of_arguments(arguments)["layernorm_epsilon"], 1e-6);
  arguments.erase("layernorm_zero_centered_gamma");
  arguments.erase("layernorm_epsilon");
  EXPECT_EQ(statement_of_arguments(arguments)["layernorm_zero_centered_gamma"], false);
  EXPECT_EQ(statement_of_arguments(arguments)["layernorm_epsilon"], 3e-5);
}

// Flags that are all off would mean GELU without a gate and contradict run_config.yaml.
TEST(Statement, AnActivationThatNoFlagNamesIsNotSaid) {
  const RealModel model = real_models().front();
  Json provider = Binding(find_table(model.config, ""), model.config).megatron_config("bf16");
  for (const bool gated : {true, false}) {
    provider["activation_func"] = {{"_target_", gated ? "torch.nn.functional.gelu" : "torch.tanh"}};
    provider["gated_linear_unit"] = gated;
    const Json said = statement_of_arguments(megatron_args(provider, {}));
    EXPECT_FALSE(said.contains("activation_func"));
    EXPECT_EQ(text_of(contradictions(said, statement_of_provider(provider, Absent::kUnknown))), "");
  }
}

TEST(Statement, WhatIsNotSaidIsNotCompared) {
  const Json meant = meaning_of(real_models().front().config);
  EXPECT_TRUE(statement_of_arguments(Json::object()).empty());
  EXPECT_EQ(text_of(compare_statements(Json::object(), meant)), "");
}

TEST(Statement, DifferencesAreNamedByKind) {
  const Json config = {{"num_layers", 4}, {"rotary_base", 10000.0}, {"seq_length", 256}};
  const auto found = compare_statements(
      {{"num_layers", 3}, {"rotary_base", 500000}, {"hidden_dropout", 0.1}, {"seq_length", 512}},
      config);
  ASSERT_EQ(text_of(found),
            "num_layers 3 4; rotary_base 500000 10000.0; seq_length 512 256; hidden_dropout 0.1 "
            "null; ");
  EXPECT_EQ(found[0].kind, FieldKind::kLayout);
  EXPECT_EQ(found[1].kind, FieldKind::kValue);
  EXPECT_EQ(found[3].kind, FieldKind::kListed);
  EXPECT_EQ(text_of(compare_statements({{"rotary_base", 10000}, {"seq_length", 128}}, config)), "");
}

// A change of the checkpoint, and the models whose config.json has a key for it.
struct Change {
  Json fields;
  std::vector<std::string> models;
};

TEST(Statement, ConfigJsonTakesTheCheckpointsNumbers) {
  const std::vector<std::string> grouped = {"llama",   "qwen2",     "qwen3",    "seed_oss",
                                            "mixtral", "qwen2_moe", "qwen3_moe"};
  const std::vector<std::string> all = {"llama",   "qwen2",       "qwen3",     "seed_oss",
                                        "mixtral", "qwen2_moe",   "qwen3_moe", "qwen3_next",
                                        "qwen3_5", "deepseek_v3", "glm4_moe",  "glm4_moe_lite",
                                        "hy_v3",   "deepseek_v2"};
  const std::vector<Change> changes = {
      {{{"rotary_base", 123456.0}}, all},
      {{{"layernorm_epsilon", 3e-6}}, all},
      {{{"seq_length", 1024}}, all},
      {{{"rope_scaling", true}, {"rope_scaling_factor", 4.0}}, grouped},
      {{{"rope_scaling", false}, {"seq_len_interpolation_factor", 2.0}}, grouped},
      {{{"rope_scaling", false}}, grouped},
      {{{"rope_scaling", nullptr},
        {"position_embedding_type", "yarn"},
        {"yarn_rotary_scaling_factor", 4.0},
        {"yarn_original_max_position_embeddings", 64},
        {"yarn_beta_fast", 16.0},
        {"yarn_beta_slow", 2.0},
        {"yarn_mscale", 1.0},
        {"yarn_mscale_all_dim", 0.5},
        {"yarn_correction_range_round_to_int", false}},
       grouped},
      {{{"rotary_scaling_factor", 20.0}, {"beta_fast", 16.0}, {"mscale", 0.7}}, {"deepseek_v3"}},
      {{{"rope_type", "rope"}}, {"deepseek_v3"}},
      {{{"moe_router_topk", 3}},
       {"mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "deepseek_v2", "deepseek_v3", "glm4_moe",
        "glm4_moe_lite", "hy_v3"}},
      {{{"moe_router_pre_softmax", true}}, {"qwen3_moe", "qwen3_next"}},
      {{{"moe_router_pre_softmax", false}}, {"qwen2_moe"}},
      {{{"moe_aux_loss_coeff", 0.25}},
       {"mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "deepseek_v2", "deepseek_v3", "glm4_moe",
        "glm4_moe_lite", "hy_v3"}},
      {{{"moe_router_topk_scaling_factor", 1.5},
        {"moe_router_num_groups", 2},
        {"moe_router_group_topk", 1}},
       {"deepseek_v2", "deepseek_v3", "glm4_moe", "glm4_moe_lite"}},
      {{{"window_size", Json::parse("[31, 0]")}}, {"mixtral"}},
  };
  int tried = 0;
  for (const RealModel& model : real_models()) {
    for (const Change& change : changes) {
      if (std::find(change.models.begin(), change.models.end(), model.name) ==
          change.models.end()) {
        continue;
      }
      const Json before = meaning_of(model.config);
      Json now = before;
      now.update(change.fields);
      Json config = model.config;
      bring_up_to_date(find_table(model.config, ""), before, now, config);
      EXPECT_EQ(text_of(compare_statements(change.fields, meaning_of(config))), "")
          << model.name << ": " << config.dump();
      ++tried;
    }
    // Nothing is out of date, so the text stays unchanged.
    Json same = model.config;
    const Json meant = meaning_of(model.config);
    EXPECT_TRUE(bring_up_to_date(find_table(same, ""), meant, meant, same).empty());
    EXPECT_EQ(same, model.config);
  }
  EXPECT_EQ(tried, 98);
}

// A config.json out of the arguments alone means what they say, and what the model's own means.
TEST(Statement, AConfigJsonIsMadeOfTheArguments) {
  for (const RealModel& model : real_models()) {
    const Table& table = find_table(model.config, "");
    Json said = statement_of_arguments(model.arguments);
    const Json meant = meaning_of(model.config);
    said["vocab_size"] = meant["vocab_size"];
    ASSERT_TRUE(derives_config(table)) << model.name;
    const Json config = derived_config(table, said);
    EXPECT_EQ(&find_table(config, ""), &table);
    EXPECT_EQ(text_of(compare_statements(said, meaning_of(config))), "")
        << model.name << config.dump();
    // Of all that a config.json means comes one that means it all.
    EXPECT_EQ(meaning_of(derived_config(table, meant)), meant) << model.name;
  }
}

TEST(Statement, ADerivedConfigJsonOfOtherFeatures) {
  const auto arguments = [](const std::string& name, const Json& changes) {
    Json said = real_arguments(name);
    said.update(changes);
    Json fields = statement_of_arguments(said);
    if (!fields.contains("vocab_size")) fields["vocab_size"] = 64;
    return fields;
  };
  const std::pair<std::string, Json> cases[] = {
      {"qwen3", {{"use_rope_scaling", true}, {"rope_scaling_factor", 4.0}}},
      {"qwen3", {{"rotary_seq_len_interpolation_factor", 2}}},
      {"qwen3",
       {{"position_embedding_type", "yarn"},
        {"use_rotary_position_embeddings", false},
        {"rotary_scaling_factor", 4.0},
        {"original_max_position_embeddings", 64},
        {"beta_fast", 16.0},
        {"beta_slow", 2.0},
        {"yarn_correction_range_round_to_int", true},
        {"mscale", 1.3},
        {"mscale_all_dim", 0.0}}},
      {"qwen3_moe", {{"moe_layer_freq", Json::parse("[1, 0, 1]")}, {"num_layers", 3}}},
      {"qwen3_moe", {{"moe_router_pre_softmax", true}}},
      {"mixtral", {{"window_size", Json::parse("[31, 0]")}}},
      {"deepseek_v3", {{"q_lora_rank", nullptr}}},
      {"deepseek_v3", {{"rope_type", "rope"}, {"mscale_all_dim", 0.0}}},
  };
  for (const auto& [name, changes] : cases) {
    const Json said = arguments(name, changes);
    const Table* table = nullptr;
    for (const Table* each : builtin_tables()) {
      if (each->file == name + ".jsonc") table = each;
    }
    ASSERT_NE(table, nullptr) << name;
    const Json config = derived_config(*table, said);
    EXPECT_EQ(text_of(compare_statements(said, meaning_of(config))), "") << config.dump();
  }
}

TEST(Statement, WhatADerivedConfigJsonLacksIsNamed) {
  Json said = statement_of_arguments(real_arguments("qwen3"));
  said.erase("layernorm_epsilon");
  bridge::expect_error(bridge::Code::kBadInput, "of common/transformer.jsonc: ", [&] {
    derived_config(find_table({{"model_type", "qwen3"}}, ""), said);
  });
}

TEST(Statement, EntriesAreForOnePurposeOrBoth) {
  Table table;
  table.hf_config = {{{"a.x", "x"}, Expr::parse("v"), {}, {}, true, false},
                     {{"x", "a.x"}, Expr::parse("v"), {}, {}, false, true},
                     {{"y"}, Expr::parse("v"), {}, {}}};
  EXPECT_EQ(derived_config(table, {{"v", 3}}).dump(),
            R"({"architectures":null,"model_type":null,"a":{"x":3},"y":3})");
  Json config = {{"x", 1}};
  bring_up_to_date(table, {{"v", 1}}, {{"v", 2}}, config);
  EXPECT_EQ(config.dump(), R"({"x":2,"y":2})");
  EXPECT_FALSE(derives_config(table));
}

TEST(Statement, RealsCompareUpToRounding) {
  EXPECT_EQ(text_of(compare_statements({{"yarn_mscale", 0.1 + 0.2}}, {{"yarn_mscale", 0.3}})), "");
  EXPECT_NE(text_of(compare_statements({{"yarn_mscale", 0.3000001}}, {{"yarn_mscale", 0.3}})), "");
}

TEST(Statement, AKeyIsWrittenWhereConfigJsonHasIt) {
  Json config = {{"rope_parameters", {{"rope_theta", 1.0}}}, {"rope_theta", 2.0}};
  Table table;
  table.hf_config = {
      {{"rope_scaling.rope_theta", "rope_parameters.rope_theta", "rope_theta"},
       Expr::parse("rotary_base"),
       {},
       {}},
      {{"rope_parameters.factor", "rope_scaling.factor"}, Expr::parse("factor"), {}, {}},
      {{"rope_parameters.x", "rope_scaling.x"}, Expr::parse("x"), Expr::parse("factor > 9"), {}}};
  const auto changes = bring_up_to_date(table, {{"rotary_base", 1.0}, {"factor", 1}, {"x", 1}},
                                        {{"rotary_base", 5.0}, {"factor", 8}, {"x", 2}}, config);
  EXPECT_EQ(config.dump(), R"({"rope_parameters":{"rope_theta":5.0,"factor":8},"rope_theta":2.0})");
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].key, "rope_parameters.rope_theta");
  EXPECT_EQ(changes[0].from, 1.0);
  config.erase("rope_parameters");
  bring_up_to_date(table, {{"rotary_base", 5.0}, {"factor", 8}},
                   {{"rotary_base", 5.0}, {"factor", 2}}, config);
  EXPECT_EQ(config.dump(), R"({"rope_theta":2.0,"rope_scaling":{"factor":2}})");
}

// Megatron-Core gives every Nth layer no window where the field is a number N.
TEST(Statement, LayersWithAWindowAreListed) {
  const Json meaning = meaning_of(Json::parse(R"({"model_type": "gpt_oss", "hidden_size": 64,
      "intermediate_size": 96, "num_attention_heads": 8, "num_hidden_layers": 3, "vocab_size": 128})"));
  EXPECT_EQ(meaning.at("window_size"), Json({127, 0}));
  EXPECT_EQ(meaning.at("window_attn_skip_freq"), Json({1, 0, 1}));
}

}  // namespace
}  // namespace mappings
