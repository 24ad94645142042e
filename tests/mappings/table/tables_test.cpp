// Tests the built-in tables: names against Megatron-Bridge's mapping registries
// (data/reference_mappings, dumped from its own objects), sizes against the published parameter
// counts of the released models.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"
#include "tests/data_dir.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/reference.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

using Pair = std::pair<std::string, std::string>;

struct Reference {
  std::set<Pair> pairs;  // Megatron name, HF name
  std::map<Pair, std::string> kinds;
  int mtp_rows = 0;
};

std::string replace_star(std::string text, int layer) {
  const size_t at = text.find('*');
  return at == std::string::npos ? text : text.replace(at, 1, std::to_string(layer));
}

Reference read_reference(const std::string& name, int layers) {
  Reference reference;
  for (const ReferenceRow& row : read_reference_rows(name)) {
    // No released dense Qwen3 has it; a config.json with it is refused.
    if (row.megatron.starts_with("mtp.")) {
      ++reference.mtp_rows;
      continue;
    }
    for (int layer = 0; layer < layers; ++layer) {
      const Pair pair(replace_star(row.megatron, layer), replace_star(row.hf, layer));
      reference.pairs.insert(pair);
      reference.kinds[pair] = row.kind;
    }
  }
  return reference;
}

Json small_config(const std::string& type) {
  Json config =
      Json::parse(R"({"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 100, "head_dim": 16,
    "tie_word_embeddings": false})");
  config["model_type"] = type;
  return config;
}

class ReferenceNames : public ::testing::TestWithParam<const char*> {};

TEST_P(ReferenceNames, AreThoseOfMegatronBridge) {
  const Reference reference = read_reference(GetParam(), 3);
  const Json config = small_config(GetParam());
  const Binding binding(find_table(config, ""), config);
  std::set<Pair> own;
  std::set<Pair> with_aliases;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    for (size_t part = 0; part < tensor.hf.size(); ++part) {
      const Pair pair(tensor.name, tensor.hf[part].name);
      own.insert(pair);
      with_aliases.insert(pair);
      for (const std::string& alias : tensor.aliases) with_aliases.insert({alias, pair.second});
      const auto kind = reference.kinds.find(pair);
      ASSERT_NE(kind, reference.kinds.end()) << pair.first << " <- " << pair.second;
      EXPECT_EQ(kind_of(tensor, part), kind->second) << pair.first << " <- " << pair.second;
    }
  });
  // Bridge's registries list the other norm spelling only for Llama; ours is an alias everywhere.
  for (const Pair& pair : reference.pairs) {
    EXPECT_TRUE(with_aliases.contains(pair)) << pair.first << " <- " << pair.second;
  }
  const size_t alias_pairs = std::string(GetParam()) == "llama" ? 6 : 0;
  EXPECT_EQ(own.size() + alias_pairs, reference.pairs.size());
  EXPECT_EQ(reference.mtp_rows, std::string(GetParam()) == "qwen3" ? 15 : 0);
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceNames, ::testing::Values("llama", "qwen2", "qwen3"),
                         [](const auto& param) { return std::string(param.param); });

// The worked example of the documentation is a valid table.
TEST(Documentation, ExampleWorks) {
  std::ifstream in(data_dir() + "/../docs/mapping-tables.md");
  std::stringstream buffer;
  buffer << in.rdbuf();
  const std::string text = buffer.str();
  const std::string fence = "```jsonc\n";
  const size_t begin = text.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const size_t end = text.find("```", begin + fence.size());
  ASSERT_NE(end, std::string::npos);
  const Table table =
      parse_table(text.substr(begin + fence.size(), end - begin - fence.size()), "example");
  Json config = small_config("example");
  config["hidden_act"] = "silu";
  config["num_dense_layers"] = 1;
  config["num_nextn_predict_layers"] = 1;
  config["num_experts"] = 2;
  config["moe_intermediate_size"] = 32;
  const Binding binding(table, config);
  std::map<std::string, size_t> parts;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    parts[tensor.name] = tensor.hf.size();
    if (tensor.name == "mtp.layers.0.transformer_layer.self_attention.linear_qkv.weight") {
      EXPECT_EQ(tensor.hf[2].name, "model.layers.3.self_attn.v_proj.weight");
    }
  });
  // Two parts outside the layers, attention in four layers, one dense layer, three with two experts
  // and a bias.
  EXPECT_EQ(parts.size(), 2 + 4 * 2 + 1 + 3 * (2 + 1u));
  EXPECT_EQ(parts["decoder.layers.0.mlp.linear_fc1.weight"], 2u);
  EXPECT_EQ(parts["decoder.layers.1.mlp.experts.experts.1.linear_fc1.weight"], 2u);
  EXPECT_EQ(parts["mtp.layers.0.transformer_layer.mlp.router.expert_bias"], 1u);
  EXPECT_EQ(binding.block_schemes()[0].block_rows, 128);
  EXPECT_EQ(binding.promised_mtp_depths(), 1);
  EXPECT_EQ(binding.megatron_config("bf16")["moe_layer_freq"], Json({0, 1, 1}));
  EXPECT_TRUE(binding.per_layer_keys());
  EXPECT_EQ(binding.megatron_config("bf16")["params_dtype"]["_target_"], "torch.bfloat16");
}

struct Published {
  const char* name;
  const char* config;
  const char* table;
  int64_t tensors;     // entries of the release's weight map
  int64_t parameters;  // as its model card or index says
};

// Llama-3.2-1B and Qwen2.5-0.5B are tied and have no lm_head; Qwen3-0.6B's duplicate is not
// counted.
const Published kPublished[] = {
    {"llama_3_1_8b", kLlama31_8B, "llama.jsonc", 291, 8'030'261'248},
    {"llama_3_2_1b", kLlama32_1B, "llama.jsonc", 146, 1'235'814'400},
    {"qwen2_5_0_5b", kQwen25_05B, "qwen2.jsonc", 290, 494'032'768},
    {"qwen2_7b", kQwen2_7B, "qwen2.jsonc", 339, 7'615'616'512},
    {"qwen3_0_6b", kQwen3_06B, "qwen3.jsonc", 310, 596'049'920},
    {"qwen3_8b", kQwen3_8B, "qwen3.jsonc", 399, 8'190'735'360},
    {"seed_oss_36b", kSeedOss36B, "seed_oss.jsonc", 771, 36'151'104'512},
    {"mistral_7b", kMistral7B, "mistral.jsonc", 291, 7'241'732'096},
    {"gpt_oss_20b", kGptOss20B, "gpt_oss.jsonc", 411, 20'914'757'184},
    {"phi_4", kPhi4, "phi3.jsonc", 243, 14'659'507'200},
    {"qwen3_30b_a3b", kQwen3_30B_A3B, "qwen3_moe.jsonc", 18'867, 30'532'122'624},
    {"qwen1_5_moe_a2_7b", kQwen15MoeA27B, "qwen2_moe.jsonc", 4'659, 14'315'784'192},
    {"ministral_8b", kMinistral8B, "ministral.jsonc", 327, 8'019'808'256},
    {"olmoe_1b_7b", kOlmoe1B7B, "olmoe.jsonc", 3'219, 6'919'161'856},
    {"minimax_m2", kMiniMaxM2, "minimax_m2.jsonc", 48'239, 228'689'764'864},
    {"mixtral_8x7b", kMixtral8x7B, "mixtral.jsonc", 995, 46'702'792'704},
};

class PublishedModels : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedModels, HaveTheSizeTheTablePredicts) {
  const Published& model = GetParam();
  const Json config = Json::parse(model.config);
  const Table& table = find_table(config, "");
  EXPECT_EQ(table.file, model.table);
  const Binding binding(table, config);
  for (size_t dialect = 0; dialect < binding.dialect_count(); ++dialect) {
    std::set<std::string> hf;
    std::set<std::string> megatron;
    int64_t parameters = 0;
    binding.for_each_tensor(dialect, dialect == 1, [&](const LogicalTensor& tensor) {
      EXPECT_TRUE(megatron.insert(tensor.name).second) << tensor.name;
      for (const HfTensorSpec& spec : tensor.hf) {
        EXPECT_TRUE(hf.insert(spec.name).second) << spec.name;
        parameters += bridge::element_count(spec.shape);
      }
    });
    const bool together = std::any_of(hf.begin(), hf.end(), [](const std::string& name) {
      return name.ends_with(".experts.down_proj");
    });
    if (!together) {
      EXPECT_EQ(static_cast<int64_t>(hf.size()), model.tensors);
    }
    EXPECT_EQ(parameters, model.parameters);
    binding.for_each_drop(dialect, [&](const DroppedTensor& tensor) {
      EXPECT_TRUE(hf.insert(tensor.name).second) << tensor.name;
    });
    EXPECT_EQ(hf.contains("lm_head.weight"), true);  // read, or dropped as a duplicate
    EXPECT_EQ(megatron.contains("output_layer.weight"), !binding.tied());
  }
  EXPECT_TRUE(binding.warnings().empty()) << binding.warnings()[0];
  EXPECT_FALSE(binding.per_layer_keys());
}

INSTANTIATE_TEST_SUITE_P(All, PublishedModels, ::testing::ValuesIn(kPublished),
                         [](const auto& param) { return std::string(param.param.name); });

// The release's experts are in MXFP4; --dtype of an export writes the matrices that they stand for.
TEST(GptOssTable, InMxfp4) {
  Json config = Json::parse(kGptOss20B);
  config["quantization_config"] = {{"quant_method", "mxfp4"}};
  const auto experts = [&](bool keep_quantized) {
    const Binding binding(find_table(config, ""), config, {.keep_quantized = keep_quantized});
    EXPECT_EQ(binding.block_schemes().size(), 1U);
    std::map<std::string, bridge::Shape> found;
    binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
      const HfTensorSpec& spec = tensor.hf[0];
      if (!spec.name.starts_with("model.layers.3.mlp.experts.") || spec.name.ends_with("_bias")) {
        return;
      }
      const bool quantized = spec.name.ends_with("_blocks");
      EXPECT_EQ(quantized, keep_quantized) << spec.name;
      const BlockScheme& scheme = binding.block_schemes()[0];
      found[spec.name] = quantized ? scheme.stored_shape(spec.shape).value() : spec.shape;
      if (quantized) found[scheme.scale_name(spec.name).value()] = scheme.scale_shape(spec.shape);
    });
    return found;
  };
  const std::string prefix = "model.layers.3.mlp.experts.";
  const std::map<std::string, bridge::Shape> released = {
      {prefix + "gate_up_proj_blocks", {32, 5760, 90, 16}},
      {prefix + "gate_up_proj_scales", {32, 5760, 90}},
      {prefix + "down_proj_blocks", {32, 2880, 90, 16}},
      {prefix + "down_proj_scales", {32, 2880, 90}}};
  EXPECT_EQ(experts(true), released);
  const std::map<std::string, bridge::Shape> plain = {{prefix + "gate_up_proj", {32, 2880, 5760}},
                                                      {prefix + "down_proj", {32, 2880, 2880}}};
  EXPECT_EQ(experts(false), plain);
}

// Mistral's modules are Llama's: the tables must name the same tensors, with the same shapes.
TEST(MistralTable, IsLlamas) {
  const auto tensors_of = [](const char* type, size_t dialect) {
    const Json config = small_config(type);
    const Binding binding(find_table(config, ""), config);
    std::vector<std::tuple<std::string, const Op*, std::string, bridge::Shape>> tensors;
    binding.for_each_tensor(dialect, false, [&](const LogicalTensor& tensor) {
      for (const HfTensorSpec& spec : tensor.hf) {
        tensors.emplace_back(tensor.name, tensor.row->op, spec.name, spec.shape);
      }
    });
    return tensors;
  };
  for (const size_t dialect : {0, 1}) {
    EXPECT_EQ(tensors_of("mistral", dialect), tensors_of("llama", dialect));
    EXPECT_EQ(tensors_of("mistral", dialect).size(), 3 * 9 + 3u);
  }
}

TEST(LlamaTable, BiasesOfEveryLinear) {
  Json config = small_config("llama");
  config["attention_bias"] = config["mlp_bias"] = true;
  const Binding binding(find_table(config, ""), config);
  std::map<std::string, std::vector<bridge::Shape>> biases;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    if (!tensor.name.ends_with(".bias")) return;
    for (const HfTensorSpec& spec : tensor.hf) biases[tensor.name].push_back(spec.shape);
  });
  EXPECT_EQ(biases.size(), 12u);
  using Shapes = std::vector<bridge::Shape>;
  EXPECT_EQ(biases["decoder.layers.2.self_attention.linear_qkv.bias"], (Shapes{{64}, {32}, {32}}));
  EXPECT_EQ(biases["decoder.layers.2.self_attention.linear_proj.bias"], (Shapes{{64}}));
  EXPECT_EQ(biases["decoder.layers.2.mlp.linear_fc1.bias"], (Shapes{{96}, {96}}));
  EXPECT_EQ(biases["decoder.layers.2.mlp.linear_fc2.bias"], (Shapes{{64}}));
  EXPECT_EQ(binding.megatron_config("bf16")["add_bias_linear"], true);
}

struct Refusal {
  const char* type;
  const char* key;
  const char* value;
  const char* message;
};

TEST(Tables, RefuseByName) {
  const Refusal kCases[] = {
      {"llama", "attention_bias", "true", "attention_bias true with mlp_bias null"},
      {"llama", "mlp_bias", "true", "attention_bias null with mlp_bias true"},
      {"llama", "hidden_act", "\"gelu\"", "hidden_act 'gelu'"},
      {"qwen2", "hidden_act", "\"relu\"", "hidden_act 'relu'"},
      {"mistral", "quantization_config", R"({"quant_method": "gptq"})", "quant_method 'gptq'"},
      {"gemma2", "quantization_config", R"({"quant_method": "fp8", "weight_block_size": [4, 4]})",
       "weight_block_size [4,4]"},
      {"seed_oss", "attention_out_bias", "true", "attention_out_bias true"},
      {"seed_oss", "mlp_bias", "true", "mlp_bias true"},
      {"gpt_oss", "attention_bias", "false", "attention_bias false"},
      {"gpt_oss", "swiglu_alpha", "2.5", "swiglu_alpha 2.5"},
      {"gpt_oss", "layer_types", R"(["full_attention"])", "layer_types"},
      {"gpt_oss", "sliding_window", "null", "sliding_window is null"},
      {"gpt_oss", "quantization_config", R"({"quant_method": "fp8"})", "quant_method 'fp8'"},
      {"phi3", "rope_scaling", R"({"type": "longrope"})", "LongRoPE (rope type 'longrope')"},
      {"phi3", "rope_scaling", R"({"type": "su"})", "LongRoPE (rope type 'su')"},
      {"phi3", "rope_scaling", R"({"type": "yarn", "factor": 2.0})", "LongRoPE (rope type 'yarn')"},
      {"phi3", "rope_scaling", R"({"type": "linear", "factor": 2.0})", "rope type 'linear'"},
      {"qwen3", "attention_bias", "true", "attention_bias true"},
      {"qwen3", "quantization_config", "{\"quant_method\": \"fp8\"}", "without weight_block_size"},
      {"qwen3", "num_nextn_predict_layers", "2", "num_nextn_predict_layers 2"},
      {"glm4", "hidden_act", "\"gelu\"", "hidden_act 'gelu'"},
      {"gemma2", "hidden_activation", "\"silu\"", "'silu' is not supported (gelu_pytorch_tanh is)"},
      {"gemma2", "tie_word_embeddings", "false", "no output layer of its own"},
      {"gemma2", "sliding_window", "null", "sliding_window null"},
      {"gemma2", "layer_types", R"(["full_attention", "full_attention", "full_attention"])",
       "layer_types other than a window in every other layer"},
      {"gemma3_text", "final_logit_softcapping", "30.0", "soft caps are not supported"},
      {"gemma3_text", "rope_scaling", R"({"rope_type": "yarn", "factor": 8.0})", "'yarn'"},
      {"gemma3_text", "layer_types", R"(["sliding_attention", "full_attention", "full_attention"])",
       "after every 1 with one"},
      {"nemotron", "mlp_bias", "true", "mlp_bias true"},
      {"nemotron", "hidden_act", "\"gelu\"", "'gelu' is not supported (relu2 is)"},
      {"starcoder2", "use_bias", "false", "use_bias false"},
  };
  for (const Refusal& refusal : kCases) {
    Json config = small_config(refusal.type);
    if (std::string(refusal.type).starts_with("gemma")) config.erase("tie_word_embeddings");
    config[refusal.key] = Json::parse(refusal.value);
    bridge::expect_error(bridge::Code::kUnsupported, refusal.message,
                         [&] { const Binding binding(find_table(config, ""), config); });
  }
}

TEST(Tables, WarnOfWhatMegatronLacks) {
  const Refusal kCases[] = {
      {"llama", "rope_scaling", R"({"type": "dynamic", "factor": 2.0})", "rope type 'dynamic'"},
      {"qwen2", "rope_scaling", R"({"rope_type": "longrope"})", "rope type 'longrope'"},
      {"llama", "rope_scaling", R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 2.0})",
       "low_freq_factor 1"},
      {"qwen3", "rope_parameters",
       R"({"rope_type": "yarn", "factor": 1.0, "attention_factor": 1.5})", "attention_factor 1.5"},
      {"qwen3", "rope_scaling",
       R"({"rope_type": "yarn", "factor": 4.0, "attn_factor": 0.8782488562869419})",
       "attn_factor 0.8782488562869419"},
      {"qwen2", "dual_chunk_attention_config",
       R"({"chunk_size": 262144, "original_max_position_embeddings": 262144})",
       "attention beyond 262144 tokens"},
      {"qwen2", "use_sliding_window", "true", "use_sliding_window"},
  };
  for (const Refusal& warning : kCases) {
    Json config = small_config(warning.type);
    config[warning.key] = Json::parse(warning.value);
    const std::vector<std::string> texts = Binding(find_table(config, ""), config).warnings();
    ASSERT_EQ(texts.size(), 1u) << warning.message;
    EXPECT_NE(texts[0].find(warning.message), std::string::npos) << texts[0];
  }
}

// Megatron-Core's _yarn_get_concentration_factor must give attention_factor back.
TEST(Tables, AttentionFactorOfYarn) {
  for (const char* type : {"llama", "qwen2", "qwen3", "qwen3_moe", "mixtral"}) {
    for (const double factor : {1.0, 1.5, 0.8782488562869419}) {
      Json config = small_config(type);
      config.update({{"num_experts", 4},
                     {"num_local_experts", 4},
                     {"num_experts_per_tok", 2},
                     {"moe_intermediate_size", 32}});
      config["rope_parameters"] = {{"rope_type", "yarn"},
                                   {"factor", 4.0},
                                   {"original_max_position_embeddings", 4096},
                                   {"attention_factor", factor}};
      const Binding binding(find_table(config, ""), config);
      EXPECT_TRUE(binding.warnings().empty()) << type;
      const Json fields = binding.megatron_config("bf16");
      const auto mscale = fields["yarn_mscale"].get<double>();
      EXPECT_DOUBLE_EQ(0.1 * mscale * std::log(4.0) + 1, factor) << type;
      EXPECT_EQ(fields["yarn_mscale_all_dim"], 0.0) << type;
      config["rope_parameters"].erase("attention_factor");
      const Json plain = Binding(find_table(config, ""), config).megatron_config("bf16");
      EXPECT_EQ(plain["yarn_mscale"], 1.0) << type;
    }
  }
}

TEST(Tables, DefaultsOfAbsentKeys) {
  Json config = small_config("llama");
  config.erase("head_dim");
  config.erase("num_key_value_heads");
  config.erase("tie_word_embeddings");
  const Binding llama(find_table(config, ""), config);
  EXPECT_EQ(llama.dim("head_dim"), 16);
  EXPECT_EQ(llama.dim("kv_heads"), 4);
  EXPECT_FALSE(llama.tied());
  config["num_attention_heads"] = 5;  // 64 / 5
  EXPECT_THROW(Binding(find_table(config, ""), config), bridge::Error);
  Json qwen3 = small_config("qwen3");
  qwen3.erase("head_dim");
  EXPECT_EQ(Binding(find_table(qwen3, ""), qwen3).dim("head_dim"), 128);  // Qwen3Config's default
}

TEST(Tables, ExtraStateModules) {
  const Json config = small_config("qwen3");
  const Binding binding(find_table(config, ""), config);
  std::map<std::string, int64_t> modules;
  binding.for_each_extra_state(/*local_spec=*/false, [&](const ExtraStateModule& module) {
    EXPECT_TRUE(modules.emplace(module.module, module.layer).second);
    EXPECT_EQ(module.layer_count, module.family == nullptr ? 0 : 3);
  });
  // The names in Megatron-Bridge's own checkpoint of a Qwen3.
  for (const char* name :
       {"self_attention.linear_qkv", "self_attention.linear_proj", "self_attention.q_layernorm",
        "self_attention.k_layernorm", "mlp.linear_fc1", "mlp.linear_fc2"}) {
    EXPECT_EQ(modules.count("decoder.layers.2." + std::string(name)), 1u) << name;
    EXPECT_EQ(modules["decoder.layers.2." + std::string(name)], 2);
  }
  EXPECT_EQ(modules.count("decoder.final_layernorm"), 1u);
  EXPECT_EQ(modules.size(), 3 * 6 + 1u);
  // Without TransformerEngine no norm has any.
  std::set<std::string> local;
  binding.for_each_extra_state(/*local_spec=*/true, [&](const ExtraStateModule& module) {
    if (module.family != nullptr) local.insert(module.module);
  });
  EXPECT_EQ(local.size(), 3 * 4u);
  EXPECT_FALSE(local.contains("decoder.layers.0.self_attention.q_layernorm"));
}

TEST(FindTable, ChoosesByArchitectureThenType) {
  const auto file_of = [](const char* config, const char* arch) {
    return find_table(Json::parse(config), arch).file;
  };
  EXPECT_EQ(file_of(R"({"architectures": ["Other", "Qwen2ForCausalLM"]})", ""), "qwen2.jsonc");
  EXPECT_EQ(file_of(R"({"architectures": ["Qwen3Model"], "model_type": "llama"})", ""),
            "qwen3.jsonc");
  EXPECT_EQ(file_of(R"({"model_type": "llama"})", ""), "llama.jsonc");
  EXPECT_EQ(file_of(R"({"architectures": [], "model_type": "llama"})", ""), "llama.jsonc");
  EXPECT_EQ(file_of(R"({"architectures": null, "model_type": "llama"})", ""), "llama.jsonc");
  EXPECT_EQ(file_of("{}", "LlamaForCausalLM"), "llama.jsonc");
  EXPECT_EQ(file_of("{}", "qwen3"), "qwen3.jsonc");
}

TEST(FindTable, RefusesTheUnknown) {
  const std::tuple<const char*, const char*, bridge::Code, const char*> kCases[] = {
      {R"({"architectures": ["LlamaForTokenClassification"], "model_type": "llama"})", "",
       bridge::Code::kUnsupported,
       "'LlamaForTokenClassification' (there are tables for BailingMoeV2ForCausalLM, "},
      {R"({"architectures": ["Ministral3ForCausalLM"]})", "", bridge::Code::kUnsupported,
       "Ministral 3 is another architecture"},
      {R"({"model_type": "bert"})", "", bridge::Code::kUnsupported, "model type 'bert'"},
      {"{}", "Bert", bridge::Code::kUnsupported, "'Bert'"},
      {"{}", "", bridge::Code::kBadInput, "neither architectures nor model_type"},
      {"[]", "", bridge::Code::kBadInput, "not an object"},
      {R"({"architectures": "LlamaForCausalLM"})", "", bridge::Code::kBadInput, "no list"},
      {R"({"architectures": [1]})", "", bridge::Code::kBadInput, "no strings"},
  };
  for (const auto& [config, arch, code, message] : kCases) {
    bridge::expect_error(code, message,
                         [config = config, arch = arch] { find_table(Json::parse(config), arch); });
  }
}

}  // namespace
}  // namespace mappings
