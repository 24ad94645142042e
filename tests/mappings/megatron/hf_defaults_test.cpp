// Keys that config.json lacks: every table takes what transformers' configuration class takes
// (data/hf_defaults.json, which a test of tests/interop compares with the classes).
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "mappings/binding/binding.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"
#include "tests/data_dir.h"

namespace mappings {
namespace {

Json provider_of(const Table& table, const Json& config) {
  return Binding(table, config).megatron_config("bf16");
}

Json provider_of(const Json& config) {
  return provider_of(find_table(config, ""), config);
}

// A binding names every tensor in every dialect, of which a table has up to sixteen. The provider
// has nothing of that.
Table with_one_dialect(Table table) {
  table.dialects.resize(1);
  return table;
}

void expect_same(const Json& found, const Json& expected, const std::string& what) {
  for (const auto& [field, value] : expected.items()) {
    ASSERT_TRUE(found.contains(field)) << what << ": " << field;
    EXPECT_EQ(found[field], value) << what << ": " << field;
  }
}

TEST(HfDefaults, AreThoseOfTheClass) {
  const Json all = Json::parse(std::ifstream(data_dir() + "/hf_defaults.json"));
  ASSERT_EQ(all.size(), 34);
  for (const auto& [name, entry] : all.items()) {
    const Json expected = provider_of(entry["config"]);
    const Table table = with_one_dialect(find_table(entry["config"], ""));
    Json none = entry["config"];
    for (const std::string key : entry["defaults"]) {
      Json config = entry["config"];
      ASSERT_EQ(config.erase(key), 1) << name << ": " << key;
      none.erase(key);
      expect_same(provider_of(table, config), expected, name + " without " + key);
    }
    // In every dialect: a row that only some have may need a default for its shape.
    expect_same(provider_of(none), expected, name + " with its sizes alone");
  }
}

// Absent is the class's window of 4096 tokens, null is none.
TEST(HfDefaults, NullIsNoAbsence) {
  const Json all = Json::parse(std::ifstream(data_dir() + "/hf_defaults.json"));
  Json config = all["mistral"]["config"];
  EXPECT_EQ(provider_of(config)["window_size"], Json({4095, 0}));
  config["sliding_window"] = nullptr;
  EXPECT_EQ(provider_of(config)["window_size"], nullptr);
  config.erase("sliding_window");
  EXPECT_EQ(provider_of(config)["window_size"], Json({4095, 0}));
  config["num_key_value_heads"] = nullptr;
  EXPECT_EQ(provider_of(config)["num_query_groups"], 64);
}

// The short config.json of sgl-project/DeepSeek-V4-Flash-FP8, and DeepSeek-V3's router.
TEST(HfDefaults, NothingIsNullThatTheClassKnows) {
  const Json all = Json::parse(std::ifstream(data_dir() + "/hf_defaults.json"));
  const auto sizes_alone = [&](const char* name) {
    Json config = all[name]["config"];
    for (const std::string key : all[name]["defaults"]) config.erase(key);
    return provider_of(config);
  };
  const Json v4 = sizes_alone("deepseek_v4");
  EXPECT_EQ(v4["moe_router_topk_scaling_factor"], 1.5);
  EXPECT_EQ(v4["activation_func_clamp_value"], 10.0);
  EXPECT_EQ(v4["moe_n_hash_layers"], 3);
  const Json v3 = sizes_alone("deepseek_v3");
  EXPECT_EQ(v3["moe_router_topk_scaling_factor"], 2.5);
  EXPECT_EQ(v3["moe_router_num_groups"], 8);
  EXPECT_EQ(v3["moe_router_group_topk"], 4);
  EXPECT_EQ(v3["q_lora_rank"], 1536);
}

}  // namespace
}  // namespace mappings
