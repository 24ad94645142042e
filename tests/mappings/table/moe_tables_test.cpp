// Tests the tables of mixture-of-experts models: their names against Megatron-Bridge's registries
// and against what real megatron-core requests, the layers with experts, refusals and warnings.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <tuple>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "tests/data_dir.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/reference.h"
#include "tests/mappings/table/small_models.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

// Bridge uses the names of the modules: an expert is local_experts.E, or a grouped weightE with the
// same HF names; MTP's layer is mtp_model_layer.
std::string as_registered(std::string name) {
  name =
      std::regex_replace(name, std::regex("experts\\.experts\\.\\d+"), "experts.local_experts.*");
  name = std::regex_replace(name, std::regex("\\.experts\\.\\d+"), ".experts.*");
  name = std::regex_replace(name, std::regex("^(decoder|model)\\.layers\\.([0-3])\\."),
                            "$1.layers.*.");
  return std::regex_replace(name, std::regex("transformer_layer"), "mtp_model_layer");
}

using NamedRow = std::tuple<std::string, std::string, std::string>;  // Megatron, HF, kind

struct Registry {
  const char* name;
  const char* released;
  std::vector<const char*> configs;  // changes of the released one
  // Rows of the registry that do not exist in any model.
  std::set<std::string> artefacts;
};

class ExpertNames : public ::testing::TestWithParam<Registry> {};

TEST_P(ExpertNames, AreThoseOfMegatronBridge) {
  std::set<NamedRow> reference;
  for (ReferenceRow row : read_reference_rows(GetParam().name)) {
    row.megatron =
        std::regex_replace(row.megatron, std::regex("experts\\.(linear_fc[12])\\.weight\\*$"),
                           "experts.local_experts.*.$1.weight");
    // The MTP layer follows the 61 or 92 layers of the release.
    row.hf = std::regex_replace(row.hf, std::regex("layers\\.(61|92)"), "layers.4");
    reference.emplace(as_registered(row.megatron), row.hf, row.kind);
  }
  std::set<NamedRow> own;
  std::set<NamedRow> with_aliases;
  for (const char* patch : GetParam().configs) {
    Json config = small(GetParam().released);
    config.update(Json::parse(patch));
    bound(config).for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
      for (size_t part = 0; part < tensor.hf.size(); ++part) {
        const std::string hf = as_registered(tensor.hf[part].name);
        own.emplace(as_registered(tensor.name), hf, kind_of(tensor, part));
        with_aliases.emplace(as_registered(tensor.name), hf, kind_of(tensor, part));
        for (const std::string& alias : tensor.aliases) {
          with_aliases.emplace(as_registered(alias), hf, kind_of(tensor, part));
        }
      }
    });
  }
  for (const NamedRow& row : own) {
    EXPECT_TRUE(reference.contains(row)) << std::get<0>(row) << " <- " << std::get<1>(row);
  }
  std::set<std::string> artefacts;
  for (const NamedRow& row : reference) {
    if (!with_aliases.contains(row)) artefacts.insert(std::get<0>(row));
  }
  EXPECT_EQ(artefacts, GetParam().artefacts);
}

// Bridge registers a dense MLP for MTP, whose layer has experts, a norm that does not exist in any
// module, and a router of GLM's shared experts.
const Registry kRegistries[] = {
    {"mixtral", kMixtral8x7B, {"{}"}, {}},
    {"qwen3_moe", kQwen3_30B_A3B, {"{}"}, {}},
    {"glm4_moe",
     kGlm45Air,
     {R"({"use_qk_norm": true})"},
     {"decoder.layers.*.mlp.shared_experts.router.weight",
      "mtp.layers.0.mtp_model_layer.mlp.linear_fc1.weight",
      "mtp.layers.0.mtp_model_layer.mlp.linear_fc2.weight",
      "mtp.layers.0.mtp_model_layer.mlp.shared_experts.router.weight"}},
    {"deepseek_v3",
     kDeepSeekV3,
     {"{}", R"({"q_lora_rank": null})"},
     {"mtp.final_layernorm.weight", "mtp.layers.0.mtp_model_layer.mlp.linear_fc1.weight",
      "mtp.layers.0.mtp_model_layer.mlp.linear_fc2.weight"}},
};
INSTANTIATE_TEST_SUITE_P(All, ExpertNames, ::testing::ValuesIn(kRegistries),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(Qwen3Moe, LayersWithoutExperts) {
  const auto kinds = [](const Json& config) {
    std::string text;
    bound(config).for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
      if (tensor.name.ends_with("mlp.router.weight")) text += "m" + std::to_string(tensor.layer);
      if (tensor.name.ends_with("mlp.linear_fc2.weight"))
        text += "d" + std::to_string(tensor.layer);
    });
    return text;
  };
  const Json config = small(kQwen3_30B_A3B);
  EXPECT_EQ(kinds(config), "m0m1m2m3");
  EXPECT_FALSE(bound(config).per_layer_keys());
  EXPECT_EQ(bound(config).megatron_config("bf16")["moe_layer_freq"], 1);
  // Qwen3MoeDecoderLayer chooses the layers this way.
  const std::tuple<const char*, const char*, const char*, Json> kCases[] = {
      {"mlp_only_layers", "[0, 2]", "d0d2m1m3", {0, 1, 0, 1}},
      {"decoder_sparse_step", "2", "d0d2m1m3", {0, 1, 0, 1}},
      {"decoder_sparse_step", "3", "d0d1d3m2", {0, 0, 1, 0}},
      {"mlp_only_layers", "[7]", "m0m1m2m3", {1, 1, 1, 1}},
  };
  for (const auto& [key, value, layers, frequency] : kCases) {
    const Json changed = with(config, key, value);
    EXPECT_EQ(kinds(changed), layers);
    EXPECT_TRUE(bound(changed).per_layer_keys());
    EXPECT_EQ(bound(changed).megatron_config("bf16")["moe_layer_freq"], frequency);
  }
  EXPECT_EQ(kinds(with(config, "mlp_only_layers", "null")), "m0m1m2m3");
  const Json renamed = with(without(config, "num_experts"), "num_local_experts", "16");
  EXPECT_EQ(bound(renamed).dim("experts"), 16);  // the name that transformers 5 writes
}

// Qwen2MoeAttention has biases as qkv_bias says; norm_topk_prob normalizes after the softmax.
TEST(Qwen2Moe, BiasesAndRouter) {
  const auto biases = [](const Json& config) {
    int count = 0;
    bound(config).for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
      count += tensor.name.ends_with("linear_qkv.bias") ? 1 : 0;
    });
    return count;
  };
  const Json config = small(kQwen15MoeA27B);
  EXPECT_EQ(biases(config), 4);
  EXPECT_EQ(bound(config).megatron_config("bf16")["add_qkv_bias"], true);
  EXPECT_EQ(bound(config).megatron_config("bf16")["moe_router_pre_softmax"], true);
  const Json plain = with(with(config, "qkv_bias", "false"), "norm_topk_prob", "true");
  EXPECT_EQ(biases(plain), 0);
  EXPECT_EQ(bound(plain).megatron_config("bf16")["add_qkv_bias"], false);
  EXPECT_EQ(bound(plain).megatron_config("bf16")["moe_router_pre_softmax"], false);
}

// The norms of Megatron-Bridge's FullDimQNorm and OLMoESelfAttention are as wide as all heads.
TEST(WholeQkNorm, WidthsAndBothNames) {
  for (const auto& [released, width_q, width_k] :
       {std::tuple(kOlmoe1B7B, 2048, 2048), std::tuple(kMiniMaxM2, 48 * 128, 8 * 128)}) {
    std::map<std::string, LogicalTensor> found;
    bound(small(released)).for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
      if (tensor.name.find("self_attention.q_layernorm") != std::string::npos ||
          tensor.name.find("self_attention.k_layernorm") != std::string::npos) {
        found.emplace(tensor.name, tensor);
      }
    });
    ASSERT_EQ(found.size(), 8u);
    const LogicalTensor& q = found.at("decoder.layers.3.self_attention.q_layernorm.weight");
    const LogicalTensor& k = found.at("decoder.layers.3.self_attention.k_layernorm.weight");
    EXPECT_EQ(q.hf[0].name, "model.layers.3.self_attn.q_norm.weight");
    EXPECT_EQ(q.hf[0].shape, bridge::Shape{width_q});
    EXPECT_EQ(k.hf[0].shape, bridge::Shape{width_k});
    ASSERT_EQ(k.aliases.size(), 1u);
    EXPECT_EQ(k.aliases[0], "decoder.layers.3.self_attention.k_norm.weight");
  }
}

TEST(MiniMaxM2, RotatesThePartThatEitherNameSays) {
  const Json config = small(kMiniMaxM2);
  EXPECT_EQ(bound(config).megatron_config("bf16")["rotary_percent"], 0.5);
  EXPECT_EQ(bound(config).megatron_config("bf16")["rotary_base"], 5000000);
  const Json section = with(config, "rope_parameters", R"({"partial_rotary_factor": 0.25})");
  EXPECT_EQ(bound(section).megatron_config("bf16")["rotary_percent"], 0.25);
  EXPECT_EQ(bound(without(config, "rotary_dim")).megatron_config("bf16")["rotary_percent"], 1.0);
  EXPECT_EQ(bound(config).block_schemes()[0].block_rows, 128);  // fmt float8_e4m3fn
}

// config.json of Kimi-K2-Thinking and GLM-4.5-FP8, as compressed-tensors wrote it.
Json compressed(const char* config, const std::string& format, const std::string& weights) {
  return with(
      Json::parse(config), "quantization_config",
      R"({"quant_method": "compressed-tensors", "quantization_status": "compressed", "format": ")" +
          format + R"(", "ignore": ["lm_head", "re:.*self_attn.*"], "kv_cache_scheme": null,
          "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null,
          "output_activations": null, "weights": )" +
          weights + "}}}");
}

constexpr char kInt4Weights[] =
    R"({"actorder": null, "block_structure": null, "dynamic": false, "group_size": 32, "num_bits": 4,
        "observer": "minmax", "strategy": "group", "symmetric": true, "type": "int"})";
constexpr char kFp8Weights[] =
    R"({"dynamic": false, "num_bits": 8, "strategy": "channel", "symmetric": true, "type": "float"})";

TEST(CompressedWeights, OfKimiK2ThinkingAreInt4) {
  const auto schemes =
      bound(compressed(kDeepSeekV3, "pack-quantized", kInt4Weights)).block_schemes();
  ASSERT_EQ(schemes.size(), 1u);
  EXPECT_EQ(schemes[0].quantization->dtype, bridge::Dtype::kI4);
  EXPECT_EQ(schemes[0].scale_shape({2048, 7168}), (bridge::Shape{2048, 224}));
  EXPECT_EQ(schemes[0].stored_shape({2048, 7168}), (bridge::Shape{2048, 896}));
}

TEST(CompressedWeights, OfGlm45AreFp8WithAScaleForEachRow) {
  const auto schemes = bound(compressed(kGlm45Air, "float-quantized", kFp8Weights)).block_schemes();
  ASSERT_EQ(schemes.size(), 1u);
  EXPECT_EQ(schemes[0].quantization->per, ScalePer::kRow);
  EXPECT_EQ(schemes[0].scale_name("a.weight"), "a.weight_scale");
}

// The descriptions of the elements, with one word changed.
TEST(CompressedWeights, OthersAreRefusedByName) {
  struct Other {
    const char* weights;
    const char* from;
    const char* to;
    const char* message;
  };
  const Other kOthers[] = {
      {kInt4Weights, "\"symmetric\": true", "\"symmetric\": false", "asymmetric weights"},
      {kInt4Weights, "\"actorder\": null", "\"actorder\": \"group\"", "actorder 'group'"},
      {kInt4Weights, "\"num_bits\": 4", "\"num_bits\": 3", "num_bits 3"},
      {kInt4Weights, "\"num_bits\": 4,", "", "num_bits"},
      {kInt4Weights, "\"strategy\": \"group\"", "\"strategy\": \"channel\"", "strategy 'channel'"},
      {kInt4Weights, "\"type\": \"int\"", "\"type\": \"complex\"", "type 'complex'"},
      {kFp8Weights, "\"num_bits\": 8", "\"num_bits\": 6", "num_bits 6"},
      {kFp8Weights, "\"channel\"", "\"token\"", "strategy 'token'"},
  };
  for (const Other& other : kOthers) {
    std::string weights = other.weights;
    weights.replace(weights.find(other.from), std::string(other.from).size(), other.to);
    const bool is_int = other.weights == kInt4Weights;
    const Json config =
        compressed(kGlm45Air, is_int ? "pack-quantized" : "float-quantized", weights);
    bridge::expect_error(bridge::Code::kUnsupported, other.message, [&] { bound(config); });
  }
  EXPECT_THROW(bound(compressed(kGlm45Air, "int-quantized", kInt4Weights)), bridge::Error);
  EXPECT_THROW(bound(compressed(kGlm45Air, "dense", kFp8Weights)), bridge::Error);
}

struct Requested {
  const char* file;
  const char* config;
  // Changes the configuration to the sizes of the model that was asked.
  const char* patch;
  bool local_spec;
};

class RequestedKeys : public ::testing::TestWithParam<Requested> {};

std::string without_numbers(std::string name, bool stacked) {
  name = std::regex_replace(name, std::regex("experts\\.experts\\.\\d+"), "experts.experts");
  if (!stacked) return name;
  return std::regex_replace(name, std::regex("^decoder\\.layers\\.\\d+"), "decoder.layers");
}

// Real megatron-core 0.16.1 (DeepSeek-V4: Megatron-LM's dev branch; DeepSeek-V3.2, GLM-5 and
// Nemotron-H: 0.19.2) requests exactly these tensors and objects from a checkpoint
// (data/requested_keys).
TEST_P(RequestedKeys, AreThoseOfTheTable) {
  std::ifstream in(data_dir() + "/requested_keys/" + GetParam().file + ".txt");
  std::map<std::string, std::set<std::string>> requested;  // by kind
  for (std::string kind, key; in >> kind >> key;) requested[kind].insert(key);
  ASSERT_GE(requested["object"].size(), 20u);

  Json config = Json::parse(GetParam().config);
  config.merge_patch(Json::parse(GetParam().patch));
  const Binding binding = bound(config);
  const bool stacked = !binding.per_layer_keys();
  std::set<std::string> tensors;
  binding.for_each_tensor(0, GetParam().local_spec, [&](const LogicalTensor& tensor) {
    std::vector<std::string> suffixes = tensor.row->split;
    if (suffixes.empty()) suffixes = {""};
    for (const std::string& suffix : suffixes) {
      tensors.insert(without_numbers(tensor.name, stacked) + suffix);
    }
  });
  EXPECT_EQ(tensors, requested["tensor"]);

  std::set<std::string> objects;
  binding.for_each_extra_state(GetParam().local_spec, [&](const ExtraStateModule& module) {
    // One axis for stacked layers, one for experts, else one object.
    std::vector<std::string> at, of;
    if (stacked && module.family != nullptr) {
      at.push_back(std::to_string(module.layer));
      of.push_back(std::to_string(module.layer_count));
    }
    if (module.expert >= 0) {
      at.push_back(std::to_string(module.expert));
      of.push_back(std::to_string(module.expert_count));
    }
    if (at.empty()) {
      at = {"0"};
      of = {"1"};
    }
    objects.insert(fmt::format("{}._extra_state/shard_{}_{}",
                               without_numbers(module.module, stacked), fmt::join(at, "."),
                               fmt::join(of, ".")));
  });
  EXPECT_EQ(objects, requested["object"]);
}

constexpr char kSmallQwen3Moe[] = R"({"num_hidden_layers": 3, "num_experts": 6})";
constexpr char kSmallMixtral[] = R"({"num_hidden_layers": 3, "num_local_experts": 4})";
constexpr char kSmallV3[] = R"({"num_hidden_layers": 3, "n_routed_experts": 8,
                                "first_k_dense_replace": 1, "num_nextn_predict_layers": 2})";
constexpr char kSmallGlm[] =
    R"({"num_hidden_layers": 3, "n_routed_experts": 8, "use_qk_norm": true})";
constexpr char kSmallGlm5[] =
    R"({"num_hidden_layers": 3, "n_routed_experts": 8, "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 1, "indexer_types": ["full", "shared", "full"]})";
constexpr char kSmallV4[] = R"({"num_hidden_layers": 4, "n_routed_experts": 4, "num_hash_layers": 2,
                                "compress_ratios": [0, 4, 128, 4, 0]})";
constexpr char kTinyQwen35[] = R"({"architectures": ["Qwen3_5ForCausalLM"], "hidden_size": 64,
  "intermediate_size": 96, "vocab_size": 100, "num_hidden_layers": 4, "num_attention_heads": 4,
  "num_key_value_heads": 2, "head_dim": 16, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
  "linear_num_value_heads": 4, "linear_value_head_dim": 12, "mtp_num_hidden_layers": 1,
  "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"]})";
constexpr char kMoeQwen35[] = R"({"architectures": ["Qwen3_5MoeForCausalLM"], "num_experts": 6,
  "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48})";
constexpr char kTinyNemotronH[] = R"({"architectures": ["NemotronHForCausalLM"], "hidden_size": 48,
  "intermediate_size": 80, "vocab_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
  "head_dim": 16, "hybrid_override_pattern": "M*EE", "mtp_hybrid_override_pattern": "*E",
  "num_nextn_predict_layers": 2, "mamba_num_heads": 6, "mamba_head_dim": 8, "n_groups": 2,
  "ssm_state_size": 16, "n_routed_experts": 6, "moe_intermediate_size": 24, "moe_latent_size": 32,
  "moe_shared_expert_intermediate_size": 40})";
const Requested kRequested[] = {
    {"te.qwen3_moe", kQwen3_30B_A3B, kSmallQwen3Moe, false},
    {"local.qwen3_moe", kQwen3_30B_A3B, kSmallQwen3Moe, true},
    {"te.mixtral", kMixtral8x7B, kSmallMixtral, false},
    {"local.mixtral", kMixtral8x7B, kSmallMixtral, true},
    {"te.deepseek_v3_mtp2", kDeepSeekV3, kSmallV3, false},
    {"local.deepseek_v3_mtp2", kDeepSeekV3, kSmallV3, true},
    {"te.glm4_moe", kGlm45Air, kSmallGlm, false},
    {"local.glm4_moe", kGlm45Air, kSmallGlm, true},
    {"te.deepseek_v4", kDeepSeekV4Flash, kSmallV4, false},
    {"te.deepseek_v32", kDeepSeekV32, kSmallV3, false},
    {"te.glm_moe_dsa", kGlm5, kSmallGlm5, false},
    {"te.nemotron_h", kTinyNemotronH, "{}", false},
    {"te.qwen3_5", kTinyQwen35, "{}", false},
    {"te.qwen3_5_moe", kTinyQwen35, kMoeQwen35, false},
};
INSTANTIATE_TEST_SUITE_P(All, RequestedKeys, ::testing::ValuesIn(kRequested),
                         [](const auto& param) {
                           return std::regex_replace(param.param.file, std::regex("\\."), "_");
                         });

struct Change {
  const char* config;
  const char* key;
  const char* value;
  const char* message;
};

TEST(ExpertTables, RefuseByName) {
  const char* const kBlocks =
      R"({"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]})";
  const char* const kStatic =
      R"({"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"})";
  const Change kCases[] = {
      {kDeepSeekV3, "hidden_act", "\"gelu\"", "hidden_act 'gelu'"},
      {kDeepSeekV3, "attention_bias", "true", "attention_bias true"},
      {kDeepSeekV3, "moe_layer_freq", "2", "moe_layer_freq 2"},
      {kDeepSeekV3, "topk_method", "\"group_limited_greedy\"",
       "topk_method 'group_limited_greedy'"},
      {kDeepSeekV3, "scoring_func", "\"softmax\"", "scoring_func 'softmax'"},
      {kDeepSeekV3, "rope_interleave", "false", "rope_interleave false"},
      {kDeepSeekV3, "first_k_dense_replace", "4", "first_k_dense_replace 4 of 4 layers with 1 MTP"},
      {kDeepSeekV3, "quantization_config", R"({"quant_method": "modelopt"})",
       "quant_method 'modelopt'"},
      {kDeepSeekV3, "quantization_config", R"({"quant_method": "compressed-tensors"})",
       "quant_method 'compressed-tensors'"},
      {kDeepSeekV3, "quantization_config", "{}", "quant_method 'null'"},
      {kDeepSeekV3, "quantization_config", R"({"quant_method": "fp8"})",
       "without weight_block_size"},
      {kDeepSeekV3, "quantization_config", kBlocks, "fmt 'e5m2'"},
      {kDeepSeekV3, "quantization_config", kStatic, "activation_scheme 'static'"},
      {kDeepSeekV32, "q_lora_rank", "null", "q_lora_rank null"},
      {kDeepSeekV32, "attention_bias", "true", "attention_bias true"},
      {kDeepSeekV32, "indexer_rope_interleave", "true", "indexer_rope_interleave true"},
      {kDeepSeekV32, "mlp_layer_types", R"(["dense", "sparse", "dense", "sparse"])",
       "dense layers before all others"},
      {kDeepSeekV32, "scoring_func", "\"softmax\"", "scoring_func 'softmax'"},
      {kGlm5, "indexer_rope_interleave", "false", "indexer_rope_interleave false"},
      {kGlm5, "index_topk_pattern", "\"FSFS\"", "index_topk_pattern"},
      {kGlm5, "indexer_types", R"(["shared", "full", "full", "full"])", "layer 0 shares an index"},
      {kGlm45Air, "first_k_dense_replace", "4", "first_k_dense_replace 4 of 4 layers with 1 MTP"},
      {kGlm45Air, "quantization_config", R"({"quant_method": "compressed-tensors"})",
       "quant_method 'compressed-tensors'"},
      {kQwen3_30B_A3B, "quantization_config", R"({"quant_method": "gptq"})", "quant_method 'gptq'"},
      {kQwen3_30B_A3B, "quantization_config", kStatic, "activation_scheme 'static'"},
      {kQwen3_30B_A3B, "quantization_config", kBlocks, "fmt 'e5m2'"},
      {kQwen3_30B_A3B, "attention_bias", "true", "attention_bias true"},
      {kQwen3_30B_A3B, "num_experts", "0", "without experts"},
      {kQwen3_30B_A3B, "num_nextn_predict_layers", "2", "num_nextn_predict_layers 2"},
      {kQwen15MoeA27B, "quantization_config", R"({"quant_method": "gptq"})", "quant_method 'gptq'"},
      {kOlmoe1B7B, "clip_qkv", "8.0", "clip_qkv 8.0"},
      {kOlmoe1B7B, "attention_bias", "true", "attention_bias true"},
      {kMiniMaxM2, "use_qk_norm", "false", "use_qk_norm false"},
      {kMiniMaxM2, "scoring_func", "\"softmax\"", "scoring_func 'softmax'"},
      {kMiniMaxM2, "shared_intermediate_size", "1536", "shared_intermediate_size 1536"},
      {kMiniMaxM2, "attn_type_list", "[0, 1]", "attn_type_list"},
      {kMixtral8x7B, "quantization_config", R"({"quant_method": "awq"})", "quant_method 'awq'"},
      {kMixtral8x7B, "hidden_act", "\"gelu\"", "hidden_act 'gelu'"},
  };
  for (const Change& change : kCases) {
    bridge::expect_error(bridge::Code::kUnsupported, change.message,
                         [&] { bound(with(small(change.config), change.key, change.value)); });
  }
}

TEST(ExpertTables, WarnOfWhatMegatronLacks) {
  const Change kCases[] = {
      {kDeepSeekV3, "topk_group", "2", "num_experts_per_tok 8 with topk_group 2: "},
      {kDeepSeekV3, "num_experts_per_tok", "6", "num_experts_per_tok 6 with topk_group 4"},
      {kDeepSeekV3, "norm_topk_prob", "false", "norm_topk_prob false with num_experts_per_tok 8"},
      {kDeepSeekV3, "rms_norm_eps", "1e-05", "rms_norm_eps 1e-05"},
      {kDeepSeekV3, "rope_scaling", R"({"type": "linear", "factor": 2.0})", "rope type 'linear'"},
      {kDeepSeekV32, "rms_norm_eps", "1e-05", "rms_norm_eps 1e-05"},
      {kGlm45Air, "rope_scaling", R"({"rope_type": "yarn", "factor": 2.0})", "rope type 'yarn'"},
      {kGlm45Air, "norm_topk_prob", "false", "norm_topk_prob false with num_experts_per_tok 8"},
      {kQwen3_30B_A3B, "num_experts_per_tok", "1", "norm_topk_prob with num_experts_per_tok 1"},
      {kQwen3_30B_A3B, "use_sliding_window", "true", "use_sliding_window"},
      {kOlmoe1B7B, "num_key_value_heads", "8", "num_key_value_heads 8 of 16 heads"},
      {kMiniMaxM2, "num_experts_per_tok", "1", "num_experts_per_tok 1"},
      {kMixtral8x7B, "num_experts_per_tok", "1", "num_experts_per_tok 1"},
      {kMixtral8x7B, "rope_scaling", R"({"type": "dynamic", "factor": 2.0})",
       "rope type 'dynamic'"},
  };
  for (const Change& change : kCases) {
    EXPECT_TRUE(bound(small(change.config)).warnings().empty());
    const std::vector<std::string> texts =
        bound(with(small(change.config), change.key, change.value)).warnings();
    ASSERT_EQ(texts.size(), 1u) << change.message;
    EXPECT_NE(texts[0].find(change.message), std::string::npos) << texts[0];
  }
  // With one group, or with two experts chosen in each group, both sides agree.
  Json groups = small(kDeepSeekV3);
  groups["n_group"] = groups["topk_group"] = 1;
  EXPECT_TRUE(bound(groups).warnings().empty());
  groups["n_group"] = groups["topk_group"] = nullptr;
  EXPECT_TRUE(bound(groups).warnings().empty());
}

TEST(Qwen3Fp8, BlocksOfTheDenseAndTheMoeTable) {
  for (const char* released : {kQwen3_8B, kQwen3_30B_A3B}) {
    const Json config = with(
        small(released), "quantization_config",
        R"({"activation_scheme": "dynamic", "quant_method": "fp8", "weight_block_size": [128, 64]})");
    const std::vector<BlockScheme> schemes = bound(config).block_schemes();
    ASSERT_EQ(schemes.size(), 1u);
    EXPECT_EQ(schemes[0].block_rows, 128);
    EXPECT_EQ(schemes[0].block_columns, 64);
    const std::vector<bridge::Dtype>& scales = schemes[0].quantization->scale_dtypes;
    EXPECT_NE(std::find(scales.begin(), scales.end(), bridge::Dtype::kBF16), scales.end());
  }
}

}  // namespace
}  // namespace mappings
