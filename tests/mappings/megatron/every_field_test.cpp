// Tests that every field of every table's megatron_config reaches both outputs: run_config.yaml,
// read by yaml-cpp, and the arguments of common.pt. In the arguments, a field has its own name or
// the name that Megatron-LM's parser gives it (megatron/training/arguments.py), or is absent for a
// stated reason. The configurations switch on every field that only some models have.
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mappings/megatron/megatron_args.h"
#include "mappings/megatron/run_config.h"
#include "mappings/table/registry.h"
#include "tests/data_dir.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/small_models.h"

namespace mappings {
namespace {

using Names = std::set<std::string>;

Json read_config(const std::string& name) {
  std::ifstream in(data_dir() + "/" + name);
  EXPECT_TRUE(in) << name;
  return Json::parse(in);
}

Json with_yarn(const char* released) {
  return with(Json::parse(released), "rope_scaling",
              R"({"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"})");
}

// Text sizes of the class, with a vision tower of that architecture.
Json with_tower(const Json& classes, const char* name) {
  const Json text = classes.at(name).at("config");
  const Json tower = Json::parse(R"({"depth": 4, "hidden_size": 64, "num_heads": 4,
    "intermediate_size": 96, "patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2,
    "num_position_embeddings": 16, "out_hidden_size": 4096, "deepstack_visual_indexes": [1, 2]})");
  return {
      {"architectures", text.at("architectures")}, {"text_config", text}, {"vision_config", tower}};
}

// There is at least one for every table, so a new table must add its configurations here.
std::vector<Json> configurations() {
  std::vector<Json> all;
  for (const char* released :
       {kLlama31_8B,    kLlama32_1B, kQwen25_05B,    kQwen2_7B,        kQwen3_06B,
        kQwen3_30B_A3B, kMistral7B,  kQwen15MoeA27B, kSeedOss36B,      kMinistral8B,
        kOlmoe1B7B,     kMiniMaxM2,  kPhi4,          kMiMo7B,          kGptOss20B,
        kMixtral8x7B,   kDeepSeekV3, kDeepSeekV32,   kDeepSeekV4Flash, kGlm45Air,
        kGlm5,          kLingMini}) {
    all.push_back(Json::parse(released));
  }
  for (const char* released : {kLlama31_8B, kQwen25_05B, kQwen3_8B}) {
    all.push_back(with_yarn(released));
  }
  for (const char* name : {"qwen3_5_vl", "qwen3_5_moe_vl", "qwen3_5_moe_text", "qwen3_moe"}) {
    all.push_back(read_config(std::string("bridge_run_config/") + name + ".config.json"));
  }
  all.push_back(read_config("qwen3_5_forms/next/hf/config.json"));
  const Json classes = read_config("hf_defaults.json");
  for (const char* name : {"deepseek_v2", "glm4_moe_lite", "hy_v3", "glm4", "gemma2", "gemma3",
                           "nemotron", "nemotron_h", "starcoder2", "llama4"}) {
    all.push_back(classes.at(name).at("config"));
  }
  for (const char* name : {"qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"}) {
    all.push_back(with_tower(classes, name));
  }
  return all;
}

// field -> argument, as core_transformer_config_from_args and load_args_from_checkpoint read them
const std::map<std::string, std::string> kOtherName = {
    {"rope_scaling", "use_rope_scaling"},
    {"seq_len_interpolation_factor", "rotary_seq_len_interpolation_factor"},
    {"num_moe_experts", "num_experts"},
    {"yarn_rotary_scaling_factor", "rotary_scaling_factor"},
    {"yarn_mscale", "mscale"},
    {"yarn_mscale_all_dim", "mscale_all_dim"},
    {"bias_activation_fusion", "bias_swiglu_fusion"},
};

// Callables and types, fields of the vision side, and fields whose arguments have the inverse
// meaning.
const Names kNoArgument = {"_target_",
                           "transformer_layer_spec",
                           "activation_func",
                           "persist_layer_norm",
                           "share_embeddings_and_output_weights",
                           "params_dtype",
                           "autocast_dtype",
                           "actual_vocab_size",
                           "scatter_embedding_sequence_parallel",
                           "vision_config",
                           "image_token_id",
                           "video_token_id",
                           "vision_token_id",
                           "vision_start_token_id",
                           "vision_end_token_id",
                           "bos_token_id",
                           "eos_token_id"};

// No argument names Gemma's GELU.
Names lost_of(const std::string& table) {
  return table.starts_with("gemma") ? Names{"activation_func"} : Names{};
}

void expect_in_args(const std::string& field, const Json& value, const Json& args) {
  SCOPED_TRACE(field);
  if (field == "gated_linear_unit") {  // the arguments name the activation with it
    EXPECT_EQ(args.at("swiglu") == true || args.at("quick_geglu") == true, value == true);
    EXPECT_NE(why_no_argument(field), "");
    return;
  }
  const auto other = kOtherName.find(field);
  if (other != kOtherName.end()) {
    EXPECT_FALSE(args.contains(field));
    EXPECT_NE(why_no_argument(field), "");
    if (!value.is_null()) {
      EXPECT_EQ(args.at(other->second), value);
    }
  } else if (kNoArgument.contains(field)) {
    EXPECT_FALSE(args.contains(field));
    EXPECT_NE(why_no_argument(field), "");
  } else {
    EXPECT_EQ(why_no_argument(field), "");
    ASSERT_TRUE(args.contains(field));
    // 0.16 does not know the new name of this variant.
    EXPECT_EQ(args.at(field), value == "gdn" ? Json("gated_delta_net") : value);
  }
}

TEST(EveryField, ReachesBothOutputs) {
  std::map<std::string, Names> seen;  // by table
  for (const Json& config : configurations()) {
    const Binding binding = bound(with_few_experts(config));
    SCOPED_TRACE(binding.table().file);
    for (const char* dtype : {"bf16", "fp32"}) {
      const Json provider = binding.megatron_config(dtype);
      const Json args = megatron_args(provider, {});
      const YAML::Node model = YAML::Load(run_config_yaml(provider, {}))["model"];
      const std::vector<std::string> lost = fields_lost_to_args(provider);
      EXPECT_EQ(Names(lost.begin(), lost.end()), lost_of(binding.table().file));
      for (const auto& [field, value] : provider.items()) {
        EXPECT_TRUE(model[field].IsDefined()) << field;
        if (lost.empty() || field != "gated_linear_unit") expect_in_args(field, value, args);
        seen[binding.table().file].insert(field);
      }
      EXPECT_EQ(args.at("untie_embeddings_and_output_weights"),
                !provider.at("share_embeddings_and_output_weights").get<bool>());
      if (provider.contains("persist_layer_norm")) {
        EXPECT_EQ(args.at("no_persist_layer_norm"), !provider["persist_layer_norm"].get<bool>());
      }
    }
  }
  for (const Table* table : builtin_tables()) {
    for (const ProviderField& field : table->megatron_config) {
      EXPECT_TRUE(seen[table->file].contains(field.name))
          << table->file << ": no configuration here has " << field.name;
    }
  }
}

// Fields that the table does not have.
TEST(EveryField, OfOtherTablesReachesThemToo) {
  Json provider = bound(Json::parse(kQwen3_06B)).megatron_config("bf16");
  const Json fields = Json::parse(R"({
    "softmax_type": "learnable", "window_attn_skip_freq": [1, 0], "glu_linear_offset": 1.0, "softmax_scale": null})");
  provider.update(fields);
  const Json args = megatron_args(provider, {});
  for (const auto& [field, value] : fields.items()) EXPECT_EQ(args.at(field), value) << field;
  EXPECT_EQ(fields_lost_to_args(provider), std::vector<std::string>{});
}

TEST(EveryField, ThatArgumentsCannotHoldIsNamed) {
  Json provider = bound(Json::parse(kQwen3_06B)).megatron_config("bf16");
  const auto activation = [&](const char* function, bool gated) {
    provider["activation_func"] = {{"_target_", function}, {"_call_", false}};
    provider["gated_linear_unit"] = gated;
    return fields_lost_to_args(provider);
  };
  const std::vector<std::string> none;
  EXPECT_EQ(activation("torch.nn.functional.silu", true), none);
  EXPECT_EQ(activation("torch.nn.functional.gelu", false), none);
  EXPECT_EQ(activation("megatron.core.activations.squared_relu", false), none);
  EXPECT_EQ(megatron_args(provider, {})["squared_relu"], true);
  EXPECT_EQ(activation("megatron.core.fusions.fused_bias_geglu.quick_gelu", true), none);
  EXPECT_EQ(megatron_args(provider, {})["quick_geglu"], true);
  EXPECT_EQ(megatron_args(provider, {})["swiglu"], false);
  EXPECT_EQ(activation("torch.nn.functional.silu", false),
            std::vector<std::string>{"activation_func"});
  EXPECT_EQ(activation("torch.nn.functional.gelu", true),
            std::vector<std::string>{"activation_func"});
  activation("torch.nn.functional.silu", true);
  provider["quant_recipe"] = {{"_target_", "some.Recipe"}};
  provider["lists"] = {1, {{"x", 1}}};
  EXPECT_EQ(fields_lost_to_args(provider), (std::vector<std::string>{"quant_recipe", "lists"}));
  EXPECT_FALSE(megatron_args(provider, {}).contains("quant_recipe"));
}

}  // namespace
}  // namespace mappings
