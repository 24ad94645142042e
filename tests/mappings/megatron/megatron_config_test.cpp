// Tests provider fields, Megatron-LM arguments and run_config.yaml. yaml-cpp reads the YAML; the
// test compares it with the files that Megatron-Bridge wrote for the same configurations
// (data/bridge_run_config).
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <limits>
#include <sstream>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/megatron/megatron_args.h"
#include "mappings/megatron/run_config.h"
#include "mappings/megatron/yaml_text.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"
#include "tests/data_dir.h"
#include "tests/mappings/table/configs.h"

namespace mappings {
namespace {

std::string read_data(const std::string& name) {
  std::ifstream in(data_dir() + "/bridge_run_config/" + name);
  EXPECT_TRUE(in) << name;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Json provider_of(const std::string& config_text, const char* dtype = "bf16") {
  const Json config = Json::parse(config_text);
  return Binding(find_table(config, ""), config).megatron_config(dtype);
}

void expect_inside(const YAML::Node& ours, const YAML::Node& bridge, const std::string& path) {
  ASSERT_TRUE(bridge.IsDefined()) << path << " is not in Bridge's file";
  ASSERT_EQ(ours.Type(), bridge.Type()) << path;
  if (ours.IsMap()) {
    for (const auto& entry : ours) {
      const std::string key = entry.first.as<std::string>();
      expect_inside(entry.second, bridge[key], path + "." + key);
    }
  } else if (ours.IsSequence()) {
    ASSERT_EQ(ours.size(), bridge.size()) << path;
    for (size_t i = 0; i < ours.size(); ++i) expect_inside(ours[i], bridge[i], path);
  } else if (ours.IsScalar()) {
    EXPECT_EQ(ours.Scalar(), bridge.Scalar()) << path;
    EXPECT_EQ(ours.Tag(), bridge.Tag()) << path;  // quoted or plain
  }
}

// Without these fields, Bridge's export fails, loses tensors or writes another config.json.
const char* const kNeeded[] = {"_target_",
                               "num_layers",
                               "hidden_size",
                               "ffn_hidden_size",
                               "num_attention_heads",
                               "num_query_groups",
                               "kv_channels",
                               "vocab_size",
                               "normalization",
                               "gated_linear_unit",
                               "add_bias_linear",
                               "qk_layernorm",
                               "share_embeddings_and_output_weights",
                               "bf16",
                               "position_embedding_type",
                               "activation_func",
                               "layernorm_epsilon",
                               "seq_length",
                               "attention_dropout",
                               "rotary_base",
                               "rotary_percent"};

class RunConfig : public ::testing::TestWithParam<const char*> {};

TEST_P(RunConfig, SaysWhatMegatronBridgeSaid) {
  const std::string name = GetParam();
  const YAML::Node bridge = YAML::Load(read_data(name + ".yaml"));
  const std::string text =
      run_config_yaml(provider_of(read_data(name + ".config.json")), {"hf", "hf"});
  const YAML::Node ours = YAML::Load(text);
  expect_inside(ours, bridge, "");
  for (const char* key : kNeeded) EXPECT_TRUE(ours["model"][key].IsDefined()) << key;
  EXPECT_GE(ours["model"].size(), 45u);
  for (const char* section : {"checkpoint", "model", "tokenizer", "optimizer"}) {
    EXPECT_TRUE(ours[section]["_target_"].IsDefined()) << section;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RunConfig,
                         ::testing::Values("qwen3_dense", "llama_tied", "qwen3_moe", "deepseek_v3",
                                           "deepseek_v3_mtp2", "deepseek_v4", "qwen3_5_vl",
                                           "qwen3_5_moe_vl", "qwen3_5_moe_text"),
                         [](const auto& param) { return std::string(param.param); });

// Bridge has no Mixtral of its own; the fields are still those of its provider.
TEST(RunConfigFields, OfMixtralAreTheProviders) {
  const YAML::Node bridge = YAML::Load(read_data("qwen3_moe.yaml"))["model"];
  const Json mixtral = provider_of(kMixtral8x7B);
  EXPECT_EQ(mixtral["_target_"], bridge["_target_"].as<std::string>());
  for (const auto& [name, value] : mixtral.items()) EXPECT_TRUE(bridge[name].IsDefined()) << name;
}

TEST(RunConfigText, Spelling) {
  // Expected text: PyYAML's safe_dump of the same value.
  const Json top = Json::parse(R"({"b": [1, [2, 3], {"y": 1, "x": []}], "a": {"c": null, "_d": {}},
                                   "e": [], "f": [{"g": {"h": [0]}}]})");
  EXPECT_EQ(yaml_text(top),
            "a:\n  _d: {}\n  c: null\nb:\n- 1\n- - 2\n  - 3\n- x: []\n  'y': 1\ne: []\n"
            "f:\n- g:\n    h:\n    - 0\n");
  const double inf = std::numeric_limits<double>::infinity();
  const std::pair<Json, const char*> kScalars[] = {
      {1e-6, "1.0e-06"},
      {1.5e-8, "1.5e-08"},
      {0.0001, "0.0001"},
      {0.00012, "0.00012"},
      {1e15, "1000000000000000.0"},
      {1e16, "1.0e+16"},
      {1.25e300, "1.25e+300"},
      {1000000.0, "1000000.0"},
      {0.008164965809277261, "0.008164965809277261"},
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {-2.5, "-2.5"},
      {inf, ".inf"},
      {-inf, "-.inf"},
      {7, "7"},
      {-7, "-7"},
      {true, "true"},
      {nullptr, "null"},
      {"rope", "rope"},
      {"torch.nn.functional.silu", "torch.nn.functional.silu"},
      {"", "''"},
      {"yes", "'yes'"},
      {"No", "'No'"},
      {"NULL", "'NULL'"},
      {"1", "'1'"},
      {"1e5", "'1e5'"},
      {"~", "'~'"},
      {".inf", "'.inf'"},
      {"- a", "'- a'"},
      {"a: b", "'a: b'"},
      {"a #b", "'a #b'"},
      {"it's", "'it''s'"},
      {"{a}", "'{a}'"},
      {" a", "' a'"},
      {"a\nb", "\"a\\x0Ab\""},
      {"\"\\\t", "\"\\\"\\\\\\x09\""},
      {"é", "\"\\u00E9\""},
      {"😀", "\"\\U0001F600\""},
      {"2026-01-01", "'2026-01-01'"},
  };
  for (const auto& [value, expected] : kScalars) {
    const std::string text = yaml_scalar(value);
    EXPECT_EQ(text, expected);
    if (value.is_string()) {
      EXPECT_EQ(YAML::Load(text).as<std::string>(), value.get<std::string>());
    }
  }
  EXPECT_THROW(yaml_scalar(Json(std::string("\xff"))), bridge::Error);
}

TEST(Provider, LlamaRope) {
  const Json llama31 = provider_of(kLlama31_8B);
  EXPECT_EQ(llama31["rope_scaling"], true);
  EXPECT_EQ(llama31["rope_scaling_factor"], 8.0);
  EXPECT_EQ(llama31["rotary_base"], 500000.0);
  EXPECT_EQ(llama31["position_embedding_type"], "rope");
  EXPECT_EQ(llama31["seq_length"], 131072);
  EXPECT_EQ(llama31["kv_channels"], 128);
  EXPECT_EQ(llama31["num_query_groups"], 8);
  EXPECT_EQ(llama31["share_embeddings_and_output_weights"], false);
  EXPECT_EQ(llama31["seq_len_interpolation_factor"], nullptr);
  EXPECT_EQ(llama31["yarn_rotary_scaling_factor"], nullptr);
  const Json llama32 = provider_of(kLlama32_1B);
  EXPECT_EQ(llama32["rope_scaling_factor"], 32.0);
  EXPECT_EQ(llama32["share_embeddings_and_output_weights"], true);
}

TEST(Provider, TransformersFiveRope) {
  Json config = Json::parse(kLlama31_8B);
  config["rope_parameters"] = config["rope_scaling"];
  config["rope_parameters"]["rope_theta"] = config["rope_theta"];
  config.erase("rope_scaling");
  config.erase("rope_theta");
  EXPECT_EQ(provider_of(config.dump()), provider_of(kLlama31_8B));
  Json plain = Json::parse(kQwen3_8B);
  plain.erase("rope_theta");
  plain.erase("rope_scaling");
  plain["rope_parameters"] = Json::parse(R"({"rope_theta": 1000000, "rope_type": "default"})");
  EXPECT_EQ(provider_of(plain.dump()), provider_of(kQwen3_8B));
}

TEST(Provider, YarnAndLinear) {
  Json config = Json::parse(kQwen25_05B);
  config["rope_scaling"] =
      Json::parse(R"({"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"})");
  const Json yarn = provider_of(config.dump());
  EXPECT_EQ(yarn["position_embedding_type"], "yarn");
  EXPECT_EQ(yarn["yarn_rotary_scaling_factor"], 4.0);
  EXPECT_EQ(yarn["yarn_original_max_position_embeddings"], 32768);
  EXPECT_EQ(yarn["yarn_beta_fast"], 32.0);
  EXPECT_EQ(yarn["yarn_beta_slow"], 1.0);
  EXPECT_EQ(yarn["yarn_mscale"], 1.0);
  EXPECT_EQ(yarn["yarn_mscale_all_dim"], 0.0);
  const Json args = megatron_args(yarn, {});
  EXPECT_EQ(args["position_embedding_type"], "yarn");
  EXPECT_EQ(args["rotary_scaling_factor"], 4.0);
  EXPECT_EQ(args["mscale"], 1.0);
  EXPECT_EQ(args["use_rotary_position_embeddings"], false);
  Json linear = Json::parse(kLlama31_8B);
  linear["rope_scaling"] = Json::parse(R"({"type": "linear", "factor": 2.0})");
  EXPECT_EQ(provider_of(linear.dump())["seq_len_interpolation_factor"], 2.0);
  EXPECT_EQ(provider_of(linear.dump())["rope_scaling"], false);
}

TEST(Provider, LatentAttentionRope) {
  const Json v3 = provider_of(kDeepSeekV3);
  EXPECT_EQ(v3["rope_type"], "yarn");
  EXPECT_EQ(v3["rotary_scaling_factor"], 40);
  EXPECT_EQ(v3["original_max_position_embeddings"], 4096);
  EXPECT_EQ(v3["mscale_all_dim"], 1.0);
  // The form that transformers 5 writes, with the values of the release.
  Json config = Json::parse(kDeepSeekV3);
  config["rope_parameters"] = config["rope_scaling"];
  config["rope_parameters"]["rope_type"] = "yarn";
  config["rope_parameters"]["rope_theta"] = config["rope_theta"];
  for (const char* key :
       {"rope_scaling", "rope_theta", "scoring_func", "topk_method", "moe_layer_freq", "seq_aux"}) {
    config.erase(key);
  }
  config["head_dim"] = 64;
  EXPECT_EQ(provider_of(config.dump()), v3);
  // Megatron-Core scales the softmax by the factors for every kind of RoPE.
  config["rope_parameters"] = Json::parse(R"({"rope_type": "default", "rope_theta": 50000.0})");
  const Json plain = provider_of(config.dump());
  EXPECT_EQ(plain["rope_type"], "rope");
  EXPECT_EQ(plain["rotary_base"], 50000.0);
  EXPECT_EQ(plain["rotary_scaling_factor"], 1.0);
  EXPECT_EQ(plain["mscale"], plain["mscale_all_dim"]);
}

TEST(Provider, RoutersOfSoftmax) {
  Json config = Json::parse(kQwen3_30B_A3B);
  EXPECT_EQ(provider_of(config.dump())["moe_router_pre_softmax"], false);
  // Probabilities are not normalized: softmax over all experts, then the best.
  config["norm_topk_prob"] = false;
  EXPECT_EQ(provider_of(config.dump())["moe_router_pre_softmax"], true);
  config.erase("norm_topk_prob");  // Qwen3MoeConfig's default is false
  EXPECT_EQ(provider_of(config.dump())["moe_router_pre_softmax"], true);
  Json mixtral = Json::parse(kMixtral8x7B);
  EXPECT_EQ(provider_of(mixtral.dump())["moe_router_pre_softmax"], false);
  EXPECT_EQ(provider_of(mixtral.dump())["moe_ffn_hidden_size"], 14336);
  EXPECT_EQ(provider_of(mixtral.dump())["window_size"], nullptr);
  mixtral["sliding_window"] = 4096;  // the query and 4095 tokens before it
  EXPECT_EQ(provider_of(mixtral.dump())["window_size"], Json({4095, 0}));
}

// residual_dropout is transformers' name for the dropout of what attention and MLP add.
TEST(Provider, SeedOssTrainsWithItsDropouts) {
  Json seed = Json::parse(kSeedOss36B);
  EXPECT_EQ(provider_of(seed.dump())["hidden_dropout"], 0.1);
  EXPECT_EQ(provider_of(seed.dump())["attention_dropout"], 0.1);
  EXPECT_EQ(provider_of(seed.dump())["add_qkv_bias"], true);
  seed["attention_bias"] = false;
  seed["residual_dropout"] = 0.0;
  EXPECT_EQ(provider_of(seed.dump())["add_qkv_bias"], false);
  EXPECT_EQ(provider_of(seed.dump())["hidden_dropout"], 0.0);
}

// is_layer_window_attention: 1 is a layer with the window.
TEST(Provider, MinistralSaysTheLayersWithTheWindow) {
  Json ministral = Json::parse(kMinistral8B);
  ministral["num_hidden_layers"] = 3;
  EXPECT_EQ(provider_of(ministral.dump())["window_size"], Json({32767, 0}));
  EXPECT_EQ(provider_of(ministral.dump())["window_attn_skip_freq"], nullptr);
  ministral["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(provider_of(ministral.dump())["window_attn_skip_freq"], Json({1, 0, 1}));
  EXPECT_EQ(megatron_args(provider_of(ministral.dump()), {})["window_attn_skip_freq"],
            Json({1, 0, 1}));
  ministral["layer_types"] = {"full_attention", "full_attention", "full_attention"};
  EXPECT_EQ(provider_of(ministral.dump())["window_size"], nullptr);
  ministral["layer_types"] = {"sliding_attention", "chunked_attention", "full_attention"};
  EXPECT_THROW(provider_of(ministral.dump()), bridge::Error);
}

constexpr char kGemma3[] = R"({
  "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7,
  "num_attention_heads": 4, "vocab_size": 128)";

// As gemma3_bridge.py sets them: softmax_scale is 1 / sqrt(query_pre_attn_scalar).
TEST(Provider, Gemma3HasTwoBasesAndAPattern) {
  const auto with = [](const std::string& more) { return provider_of(kGemma3 + more + "}"); };
  const Json released = with(
      R"(, "sliding_window": 512, "query_pre_attn_scalar": 16, "rope_local_base_freq": 10000.0,
      "rope_theta": 500000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0})");
  EXPECT_EQ(released["window_size"], 512);
  EXPECT_EQ(released["interleaved_attn_pattern"], Json({5, 1}));
  EXPECT_EQ(released["softmax_scale"], 0.25);
  EXPECT_EQ(released["rotary_base"], Json({10000.0, 500000.0}));
  EXPECT_EQ(released["rope_scaling_factor"], 8.0);
  EXPECT_EQ(with("")["rope_scaling_factor"], 1.0);
  EXPECT_EQ(with(R"(, "sliding_window_pattern": 4)")["interleaved_attn_pattern"], Json({3, 1}));
  const char* const types = R"(, "layer_types": ["sliding_attention", "full_attention",
      "sliding_attention", "full_attention", "sliding_attention", "full_attention",
      "sliding_attention"])";
  EXPECT_EQ(with(types)["interleaved_attn_pattern"], Json({1, 1}));
}

TEST(Provider, MistralHasAWindowWhereTheConfigurationSaysSo) {
  Json mistral = Json::parse(kMistral7B);
  EXPECT_EQ(provider_of(mistral.dump())["window_size"], Json({4095, 0}));
  EXPECT_EQ(megatron_args(provider_of(mistral.dump()), {})["window_size"], Json({4095, 0}));
  EXPECT_EQ(provider_of(mistral.dump())["kv_channels"], 128);
  EXPECT_EQ(provider_of(mistral.dump())["add_qkv_bias"], false);
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(provider_of(mistral.dump())["window_size"], nullptr);
  mistral["head_dim"] = 160;  // Mistral-Nemo has 128, although 5120 / 32 is 160
  EXPECT_EQ(provider_of(mistral.dump())["kv_channels"], 160);
  mistral["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 1e6}, {"factor", 16.0}};
  EXPECT_EQ(provider_of(mistral.dump())["yarn_rotary_scaling_factor"], 16.0);
  EXPECT_EQ(provider_of(mistral.dump())["rotary_base"], 1e6);
}

TEST(Provider, PhiTurnsThePartOfAHeadThatTheConfigurationSays) {
  Json phi = Json::parse(kPhi4);
  EXPECT_EQ(provider_of(phi.dump())["rotary_percent"], 1.0);
  EXPECT_EQ(provider_of(phi.dump())["window_size"], nullptr);
  EXPECT_EQ(provider_of(phi.dump())["num_query_groups"], 10);
  phi["partial_rotary_factor"] = 0.75;
  EXPECT_EQ(provider_of(phi.dump())["rotary_percent"], 0.75);
  phi["rope_parameters"] = {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}};
  EXPECT_EQ(provider_of(phi.dump())["rotary_percent"], 0.5);
  phi["sliding_window"] = 2047;
  EXPECT_EQ(provider_of(phi.dump())["window_size"], Json({2046, 0}));
}

TEST(Provider, GptOssHasWhatItsLayersDo) {
  Json oss = Json::parse(kGptOss20B);
  const Json provider = provider_of(oss.dump());
  EXPECT_EQ(provider["softmax_type"], "learnable");
  EXPECT_EQ(provider["window_size"], Json({127, 0}));
  EXPECT_EQ(provider["window_attn_skip_freq"], 2);
  EXPECT_EQ(provider["activation_func"]["_target_"],
            "megatron.core.fusions.fused_bias_geglu.quick_gelu");
  EXPECT_EQ(provider["activation_func_clamp_value"], 7.0);
  EXPECT_EQ(provider["glu_linear_offset"], 1.0);
  EXPECT_EQ(provider["add_bias_linear"], true);
  EXPECT_EQ(provider["moe_ffn_hidden_size"], 2880);
  EXPECT_EQ(provider["moe_router_pre_softmax"], false);
  EXPECT_EQ(provider["position_embedding_type"], "yarn");
  EXPECT_EQ(provider["yarn_correction_range_round_to_int"], false);
  EXPECT_EQ(megatron_args(provider, {})["quick_geglu"], true);
  EXPECT_EQ(megatron_args(provider, {})["swiglu"], false);
  oss["num_hidden_layers"] = 3;
  oss["layer_types"] = {"full_attention", "sliding_attention", "sliding_attention"};
  EXPECT_EQ(provider_of(oss.dump())["window_attn_skip_freq"], Json({0, 1, 1}));
}

TEST(Provider, FollowsTheDtype) {
  const auto target = [](const Json& provider, const char* field) {
    return provider[field]["_target_"].get<std::string>();
  };
  const Json fp32 = provider_of(kLlama31_8B, "fp32");
  EXPECT_EQ(fp32["bf16"], false);
  EXPECT_EQ(fp32["fp16"], false);
  EXPECT_EQ(target(fp32, "params_dtype"), "torch.float32");
  const Json fp16 = provider_of(kLlama31_8B, "fp16");
  EXPECT_EQ(fp16["fp16"], true);
  EXPECT_EQ(target(fp16, "params_dtype"), "torch.float16");
  EXPECT_EQ(target(fp16, "autocast_dtype"), "torch.float16");
  // Megatron-Bridge always sets it for Qwen, whatever the type of the parameters.
  EXPECT_EQ(target(provider_of(kQwen3_8B, "fp16"), "autocast_dtype"), "torch.bfloat16");
}

TEST(MegatronArgs, OfQwen2) {
  const Json args = megatron_args(provider_of(kQwen2_7B), {152'064, "", false});
  // The arguments that load_args_from_checkpoint and check_checkpoint_args read, with the values
  // with which this model is trained.
  const Json expected = Json::parse(R"({
    "num_layers": 28, "hidden_size": 3584, "ffn_hidden_size": 18944, "seq_length": 131072,
    "num_attention_heads": 28, "num_query_groups": 4, "group_query_attention": true, "kv_channels": 128,
    "max_position_embeddings": 131072, "position_embedding_type": "rope", "add_position_embedding": true,
    "use_rotary_position_embeddings": true, "rotary_base": 1000000, "rotary_percent": 1.0,
    "rotary_interleaved": false, "add_bias_linear": false, "add_qkv_bias": true, "squared_relu": false,
    "swiglu": true, "untie_embeddings_and_output_weights": true, "apply_layernorm_1p": false,
    "normalization": "RMSNorm", "norm_epsilon": 1e-06, "apply_query_key_layer_scaling": false,
    "attention_dropout": 0.0, "hidden_dropout": 0.0, "mtp_num_layers": null, "num_experts": null,
    "qk_layernorm": false, "use_rope_scaling": false, "rope_scaling_factor": 1.0,
    "multi_latent_attention": false, "init_method_std": 0.02, "vocab_size": 152064,
    "padded_vocab_size": 152064, "make_vocab_size_divisible_by": 128,
    "transformer_impl": "transformer_engine", "ckpt_format": "torch_dist", "use_dist_ckpt": true,
    "no_save_optim": true, "no_save_rng": true, "tensor_model_parallel_size": 1,
    "pipeline_model_parallel_size": 1, "context_parallel_size": 1, "expert_model_parallel_size": 1,
    "expert_tensor_parallel_size": 1, "virtual_pipeline_model_parallel_size": null,
    "bf16": true, "fp16": false})");
  for (const auto& [name, value] : expected.items()) {
    ASSERT_TRUE(args.contains(name)) << name;
    EXPECT_EQ(args[name], value) << name;
    EXPECT_EQ(args[name].is_number_float(), value.is_number_float()) << name;
  }
  EXPECT_TRUE(args["rotary_base"].is_number_integer());
  EXPECT_FALSE(args.contains("tokenizer_model"));
  EXPECT_FALSE(args.contains("tokenizer_type"));  // a type has no meaning without a model
  EXPECT_FALSE(args.contains("params_dtype"));
  for (const auto& [name, value] : args.items()) {
    EXPECT_FALSE(value.is_object()) << name;
  }
}

// The names of Megatron-LM's parser, with the values that its users pass for this model.
TEST(MegatronArgs, OfDeepSeekV3) {
  const Json args = megatron_args(provider_of(kDeepSeekV3), {});
  const Json expected = Json::parse(R"({
    "num_layers": 61, "hidden_size": 7168, "ffn_hidden_size": 18432, "num_attention_heads": 128,
    "group_query_attention": false, "position_embedding_type": "rope", "rope_type": "yarn",
    "rotary_base": 10000, "rotary_scaling_factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
    "multi_latent_attention": true, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_head_dim": 128,
    "qk_pos_emb_head_dim": 64, "v_head_dim": 128, "qk_layernorm": true, "num_experts": 256,
    "moe_ffn_hidden_size": 2048, "moe_shared_expert_intermediate_size": 2048, "moe_router_topk": 8,
    "moe_router_num_groups": 8, "moe_router_group_topk": 4, "moe_router_topk_scaling_factor": 2.5,
    "moe_router_score_function": "sigmoid", "moe_router_enable_expert_bias": true,
    "moe_router_pre_softmax": true, "moe_router_dtype": "fp32", "moe_router_bias_update_rate": 0.001,
    "moe_router_load_balancing_type": "seq_aux_loss", "moe_aux_loss_coeff": 0.001,
    "moe_grouped_gemm": true, "moe_token_dispatcher_type": "alltoall", "mtp_num_layers": 1,
    "mtp_loss_scaling_factor": 0.1, "swiglu": true, "untie_embeddings_and_output_weights": true})");
  for (const auto& [name, value] : expected.items()) {
    ASSERT_TRUE(args.contains(name)) << name;
    EXPECT_EQ(args[name], value) << name;
  }
  Json frequency = Json::array();
  for (int layer = 0; layer < 61; ++layer) frequency.push_back(layer < 3 ? 0 : 1);
  EXPECT_EQ(args["moe_layer_freq"], frequency);
  EXPECT_FALSE(args.contains("num_moe_experts"));
  Json mixtral = Json::parse(kMixtral8x7B);
  mixtral["sliding_window"] = 4096;
  const Json windowed = megatron_args(provider_of(mixtral.dump()), {});
  EXPECT_EQ(windowed["window_size"], Json({4095, 0}));
  EXPECT_EQ(windowed["num_experts"], 8);
  EXPECT_EQ(windowed["moe_layer_freq"], 1);
  EXPECT_FALSE(windowed.contains("rope_type"));
}

// The names that Megatron-LM's dev branch declares, with the values that its recipe of the model
// passes.
TEST(MegatronArgs, OfDeepSeekV4) {
  const Json args = megatron_args(provider_of(kDeepSeekV4Flash), {});
  const Json expected = Json::parse(R"({
    "num_layers": 43, "hidden_size": 4096, "num_attention_heads": 64, "experimental_attention_variant": "dsv4_hybrid",
    "multi_latent_attention": true, "q_lora_rank": 1024, "qk_pos_emb_head_dim": 64, "v_head_dim": 512,
    "o_groups": 8, "o_lora_rank": 1024, "csa_window_size": 128, "csa_dense_mode": false,
    "dsa_indexer_n_heads": 64, "dsa_indexer_head_dim": 128, "dsa_indexer_topk": 512,
    "enable_hyper_connections": true, "num_residual_streams": 4, "mhc_sinkhorn_iterations": 20,
    "moe_n_hash_layers": 3, "moe_router_score_function": "sqrtsoftplus", "moe_router_topk": 6,
    "moe_router_topk_scaling_factor": 1.5, "num_experts": 256, "moe_ffn_hidden_size": 2048,
    "moe_shared_expert_intermediate_size": 2048, "activation_func_clamp_value": 10.0, "swiglu": true,
    "rotary_base": 10000, "csa_compress_rotary_base": 160000.0, "rotary_scaling_factor": 16.0,
    "original_max_position_embeddings": 65536, "mtp_num_layers": 1, "norm_epsilon": 1e-06,
    "untie_embeddings_and_output_weights": true})");
  for (const auto& [name, value] : expected.items()) {
    ASSERT_TRUE(args.contains(name)) << name;
    EXPECT_EQ(args[name], value) << name;
  }
  Json ratios = {0, 0, 4};
  for (int pair = 0; pair < 20; ++pair) {
    ratios.push_back(128);
    ratios.push_back(4);
  }
  ratios.push_back(0);
  EXPECT_EQ(args["csa_compress_ratios"], ratios);
}

TEST(MegatronArgs, OfTheOthers) {
  const Json llama = megatron_args(provider_of(kLlama32_1B), {128'256, "tok", true});
  EXPECT_EQ(llama["untie_embeddings_and_output_weights"], false);
  EXPECT_EQ(llama["use_rope_scaling"], true);
  EXPECT_EQ(llama["rope_scaling_factor"], 32.0);
  EXPECT_EQ(llama["tokenizer_model"], "tok");
  EXPECT_EQ(llama["tokenizer_type"], "HuggingFaceTokenizer");
  EXPECT_EQ(llama["transformer_impl"], "local");
  const Json qwen3 = megatron_args(provider_of(kQwen3_06B), {});
  EXPECT_EQ(qwen3["qk_layernorm"], true);
  EXPECT_EQ(qwen3["padded_vocab_size"], 151936);
  EXPECT_EQ(qwen3["kv_channels"], 128);
  Json moe = provider_of(kQwen3_06B);
  moe["num_moe_experts"] = 8;
  moe["moe_router_topk"] = 2;
  moe["moe_layer_freq"] = {0, 1};
  moe["num_query_groups"] = 16;
  const Json args = megatron_args(moe, {});
  EXPECT_EQ(args["num_experts"], 8);
  EXPECT_EQ(args["moe_router_topk"], 2);
  EXPECT_EQ(args["moe_layer_freq"], Json({0, 1}));
  EXPECT_EQ(args["group_query_attention"], false);
  moe.erase("hidden_size");
  EXPECT_THROW(megatron_args(moe, {}), bridge::Error);
}

}  // namespace
}  // namespace mappings
