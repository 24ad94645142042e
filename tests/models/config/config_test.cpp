// Tests configurations and names of the two views: against each other where real Megatron-Bridge
// translated one into the other, and against the list of the tensors of a release.
#include "models/hf/config.h"

#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/architectures.h"
#include "models/hf/names.h"
#include "models/megatron/config.h"
#include "models/model/tensor_id.h"
#include "tests/io/file/memory_file.h"
#include "tests/mappings/table/listed_tensors.h"
#include "tests/refusal.h"

namespace models {
namespace {

ModelConfig hf(const std::string& json) {
  return hf_model_config(Settings("config.json", bridge::parse_json(json)));
}

ModelConfig megatron(const std::string& yaml) {
  return megatron_model_config(megatron_settings(yaml));
}

void expect_same_model(const std::string& config_json, const std::string& run_config) {
  const auto ours = describe(hf(bridge::read_data(config_json)));
  const auto theirs = describe(megatron(bridge::read_data(run_config)));
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i], theirs[i]);
}

class BridgeTranslated : public testing::TestWithParam<const char*> {};

TEST_P(BridgeTranslated, IsTheSameModel) {
  const std::string path = std::string("bridge_run_config/") + GetParam();
  expect_same_model(path + ".config.json", path + ".yaml");
}

INSTANTIATE_TEST_SUITE_P(All, BridgeTranslated,
                         testing::Values("deepseek_v3", "deepseek_v3_mtp2", "deepseek_v4",
                                         "llama_tied", "qwen3_dense", "qwen3_moe"));

class BridgeImported : public testing::TestWithParam<const char*> {};

TEST_P(BridgeImported, IsTheSameModel) {
  const std::string path = std::string("bridge_written/") + GetParam();
  expect_same_model(path + "/hf/config.json", path + "/megatron/iter_0000000/run_config.yaml");
}

INSTANTIATE_TEST_SUITE_P(All, BridgeImported,
                         testing::Values("qwen3_5_vl", "qwen3_5_moe_vl", "qwen3_5_moe_text",
                                         "qwen3_6_moe_vl"));

const HfArchitecture& chosen(const std::string& json) {
  return hf_architecture(Settings("config.json", bridge::parse_json(json)));
}

TEST(HfArchitecture, IsThatOfTheClassElseOfTheType) {
  // Kimi-K2 has DeepSeek-V3's class under another type.
  EXPECT_EQ(&chosen(R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "kimi_k2"})"),
            &architectures::kDeepseekV3);
  EXPECT_EQ(&chosen(R"({"architectures": ["LlamaForCausalLM"], "model_type": "mistral"})"),
            &architectures::kLlama);
  // A trainer's wrapper put its name before the class's.
  EXPECT_EQ(&chosen(R"({"architectures": ["FSDPQwen3ForCausalLM"], "model_type": "qwen3"})"),
            &architectures::kQwen3);
  EXPECT_EQ(&chosen(R"({"architectures": null, "model_type": "mixtral"})"),
            &architectures::kMixtral);
  for (const char* json :
       {R"({"architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v41"})",
        R"({"architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen4_exp"})",
        R"({"architectures": ["FSDPDeepseekV3ForCausalLM"], "model_type": "kimi_k2"})"}) {
    EXPECT_NE(
        bridge::refusal_of([&] { chosen(json); }, bridge::Code::kUnsupported).find("model_type"),
        std::string::npos);
  }
}

constexpr const char* kDeepseekV3 = R"({
  "model_type": "deepseek_v3", "hidden_size": 7168, "vocab_size": 129280, "num_hidden_layers": 61,
  "num_attention_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
  "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432,
  "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "n_group": 8,
  "topk_group": 4, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
  "num_nextn_predict_layers": 1, "max_position_embeddings": 163840,
  "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                   "original_max_position_embeddings": 4096}
})";

// Every tensor of the release has a canonical one, is a scale, or is unused for a reason. Every
// canonical tensor is found, with its shape.
TEST(HfNames, AreThoseOfTheDeepseekV3Release) {
  const ModelConfig config = hf(kDeepseekV3);
  const HfNames names(architectures::kDeepseekV3, config, "model.");
  std::map<std::string, mappings::ListedTensor> listed =
      mappings::listed_tensors("deepseek_v3.tsv.gz");
  ASSERT_EQ(listed.size(), 91991U);
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
    const std::string name = names.places(id).at(0).name;
    const auto found = listed.find(name);
    ASSERT_NE(found, listed.end()) << name;
    EXPECT_EQ(found->second.shape, shape) << name;
    if (found->second.dtype == "F8_E4M3") listed.erase(found->first + "_scale_inv");
    listed.erase(found);
  });
  std::vector<std::string> left;
  for (const auto& [name, tensor] : listed) left.push_back(name);
  EXPECT_EQ(left, (std::vector<std::string>{"model.layers.61.embed_tokens.weight",
                                            "model.layers.61.shared_head.head.weight"}));
  for (const std::string& name : left) EXPECT_TRUE(names.is_unused(name)) << name;
  EXPECT_FALSE(names.is_unused("lm_head.weight"));
  EXPECT_FALSE(names.is_unused("model.layers.60.embed_tokens.weight"));
}

// The released DeepSeek-V4-Flash's configuration.
constexpr const char* kDeepseekV4 = R"({
  "model_type": "deepseek_v4", "hidden_size": 4096, "vocab_size": 129280, "num_hidden_layers": 43,
  "num_attention_heads": 64, "head_dim": 512, "qk_rope_head_dim": 64, "q_lora_rank": 1024,
  "o_groups": 8, "o_lora_rank": 1024, "n_routed_experts": 256, "n_shared_experts": 1,
  "num_experts_per_tok": 6, "moe_intermediate_size": 2048, "num_hash_layers": 3,
  "num_nextn_predict_layers": 1, "routed_scaling_factor": 1.5, "scoring_func": "sqrtsoftplus",
  "index_topk": 512, "index_n_heads": 64, "index_head_dim": 128, "sliding_window": 128,
  "swiglu_limit": 10.0, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6,
  "rms_norm_eps": 1e-6, "rope_theta": 10000, "compress_rope_theta": 160000,
  "rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                   "original_max_position_embeddings": 65536},
  "compress_ratios": [0, 0, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128,
                      4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4,
                      128, 4, 128, 4, 0]
})";

// The names and logical shapes of all 69187 tensors of the release.
TEST(HfNames, AreThoseOfTheDeepseekV4Release) {
  const ModelConfig config = hf(kDeepseekV4);
  const HfNames names(architectures::kDeepseekV4, config, "");
  std::map<std::string, mappings::ListedTensor> listed =
      mappings::listed_tensors("deepseek_v4_flash.tsv.gz");
  ASSERT_EQ(listed.size(), 69187U);
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
    const std::string name = names.places(id).at(0).name;
    const auto found = listed.find(name);
    ASSERT_NE(found, listed.end()) << name;
    bridge::Shape stored = found->second.shape;
    if (found->second.dtype == "I8") stored.back() *= 2;
    EXPECT_EQ(stored, shape) << name;
    if (found->second.dtype == "I8" || found->second.dtype == "F8_E4M3") {
      EXPECT_EQ(listed.erase(name.substr(0, name.size() - 6) + "scale"), 1U) << name;
    }
    listed.erase(name);
  });
  EXPECT_TRUE(listed.empty()) << listed.begin()->first;
}

TEST(HfConfig, DeepseekV4) {
  const ModelConfig config = hf(kDeepseekV4);
  const auto attention = [&](size_t layer) {
    return std::get<CompressedAttention>(config.layers.at(layer).attention);
  };
  EXPECT_EQ(attention(0).ratio, 0);
  EXPECT_EQ(attention(0).rotary.base, 10000);
  EXPECT_EQ(attention(0).rotary.scaling, RotaryScaling::kNone);
  EXPECT_EQ(attention(2).index_chosen, 512);
  EXPECT_TRUE(attention(2).overlapping);
  EXPECT_EQ(attention(3).ratio, 128);
  EXPECT_EQ(attention(3).index_heads, 0);
  EXPECT_FALSE(attention(3).overlapping);
  EXPECT_EQ(attention(3).rotary.base, 160000);
  EXPECT_EQ(attention(3).rotary.magnitude, 1);
  EXPECT_EQ(std::get<CompressedAttention>(config.mtp.at(0).attention).ratio, 0);
  EXPECT_TRUE(std::get<MixtureOfExperts>(config.layers.at(2).mlp).router.by_token);
  EXPECT_FALSE(std::get<MixtureOfExperts>(config.layers.at(3).mlp).router.by_token);
  EXPECT_FALSE(std::get<MixtureOfExperts>(config.mtp.at(0).mlp).router.by_token);
}

TEST(HfConfig, DeepseekV4Refusals) {
  const auto with = [](const std::string& more, bridge::Code code) {
    const std::string config(kDeepseekV4);
    return bridge::refusal_of([&] { hf(config.substr(0, config.rfind('}')) + "," + more + "}"); },
                              code);
  };
  EXPECT_EQ(with(R"("dspark_block_size": 4)", bridge::Code::kUnsupported),
            "config.json: dspark_block_size: the draft model DSpark is not computed here");
  EXPECT_EQ(with(R"("num_key_value_heads": 2)", bridge::Code::kUnsupported),
            "config.json: num_key_value_heads: one key and value head is what is computed here");
  EXPECT_EQ(with(R"("mlp_layer_types": ["moe"])", bridge::Code::kBadInput),
            "config.json: mlp_layer_types: 1 of them, none for layer 1");
}

// YaRN's numbers for the release, computed by hand: 0.1 * ln 40 + 1 = 1.368888, and its square.
TEST(HfConfig, DeepseekV3) {
  const ModelConfig config = hf(kDeepseekV3);
  const LatentAttention& attention = std::get<LatentAttention>(config.layers[0].attention);
  EXPECT_NEAR(attention.softmax_factor, 1.873854, 1e-6);
  EXPECT_EQ(attention.rotary.magnitude, 1);
  EXPECT_EQ(attention.rotary.layout, RotaryLayout::kPairs);
  EXPECT_TRUE(std::holds_alternative<DenseMlp>(config.layers[2].mlp));
  EXPECT_TRUE(std::holds_alternative<MixtureOfExperts>(config.layers[3].mlp));
  EXPECT_TRUE(std::holds_alternative<MixtureOfExperts>(config.mtp.at(0).mlp));
}

constexpr const char* kLlama = R"({
  "model_type": "llama", "hidden_size": 8, "vocab_size": 10, "num_hidden_layers": 1,
  "num_attention_heads": 2, "intermediate_size": 12)";

TEST(HfConfig, Refusals) {
  const auto with = [](const std::string& more, bridge::Code code = bridge::Code::kBadInput) {
    return bridge::refusal_of([&] { hf(kLlama + more + "}"); }, code);
  };
  EXPECT_EQ(with(""), "accepted");
  EXPECT_EQ(with(R"(, "num_key_value_heads": null)"), "accepted");
  EXPECT_EQ(with(R"(, "num_key_value_heads": 0)"),
            "config.json: the number of key/value heads is 0, not in 1 to 16777216");
  EXPECT_EQ(with(R"(, "num_key_value_heads": 3)"),
            "config.json: 2 heads cannot share 3 key/value heads");
  EXPECT_EQ(with(R"(, "num_key_value_heads": "2")"),
            "config.json: num_key_value_heads: not an integer");
  EXPECT_EQ(with(R"(, "num_key_value_heads": 18446744073709551615)"),
            "config.json: num_key_value_heads: too large");
  EXPECT_EQ(with(R"(, "head_dim": 5)"),
            "config.json: 5 rotated channels of 5, not an even number of them");
  EXPECT_EQ(with(R"(, "rms_norm_eps": 0)"), "config.json: the epsilon of the norms is 0");
  EXPECT_EQ(with(R"(, "rope_theta": 1)"), "config.json: the rotary base is 1");
  EXPECT_EQ(with(R"(, "tie_word_embeddings": 1)"),
            "config.json: tie_word_embeddings: neither true nor false");
  EXPECT_EQ(with(R"(, "rope_scaling": "yarn")"), "config.json: rope_scaling: not an object");
  EXPECT_EQ(with(R"(, "rope_scaling": {"type": "linear"})"),
            "config.json: rope_scaling: factor: missing");
  EXPECT_EQ(with(R"(, "rope_scaling": {"type": "dynamic"})", bridge::Code::kUnsupported),
            "config.json: rope_scaling: rope_type: 'dynamic' is not computed here (default, "
            "linear, llama3 and yarn are)");
  EXPECT_EQ(with(R"(, "hidden_act": "gelu")", bridge::Code::kUnsupported),
            "config.json: hidden_act: silu is the one that is computed here");
  EXPECT_EQ(bridge::refusal_of([] { hf(R"({"model_type": "gpt2"})"); }, bridge::Code::kUnsupported),
            "config.json: model_type: there is no forward pass for 'gpt2'");
  EXPECT_EQ(bridge::refusal_of([] { hf("[]"); }, bridge::Code::kBadInput),
            "config.json: not an object");
}

constexpr const char* kModel = R"(model:
  hidden_size: 8
  vocab_size: 10
  num_attention_heads: 2
  ffn_hidden_size: 12
  normalization: RMSNorm
  gated_linear_unit: true
  activation_func: {_target_: torch.nn.functional.silu}
  position_embedding_type: rope
  add_bias_linear: false
)";

TEST(MegatronConfig, Refusals) {
  const auto with = [](const std::string& more, bridge::Code code = bridge::Code::kBadInput) {
    return bridge::refusal_of([&] { megatron(kModel + more); }, code);
  };
  EXPECT_EQ(with("  num_layers: 2\n"), "accepted");
  EXPECT_EQ(with(""), "run_config.yaml: model: num_layers: missing");
  EXPECT_EQ(with("  num_layers: '2'\n"), "run_config.yaml: model: num_layers: not an integer");
  EXPECT_EQ(with("  num_layers: 0\n"), "run_config.yaml: model: no layers");
  EXPECT_EQ(with("  num_layers: 1000000000000\n"),
            "run_config.yaml: model: num_layers: 1000000000000 is no number of layers");
  EXPECT_EQ(with("  num_layers: 5000\n"),
            "run_config.yaml: model: num_layers: 5000 is no number of layers");
  EXPECT_EQ(with("  num_layers: 1\n  num_moe_experts: 4\n  moe_layer_freq: []\n"),
            "run_config.yaml: model: moe_layer_freq: none for layer 0");
  EXPECT_EQ(with("  num_layers: 1\n  num_moe_experts: 4\n  moe_router_topk: 5\n"),
            "run_config.yaml: model: 5 experts a token cannot be chosen from 4");
  EXPECT_EQ(with("  num_layers: 1\n  num_layers: 2\n"),
            "run_config.yaml: num_layers is there twice");
  EXPECT_EQ(with("  num_layers: 1\n  use_mup: true\n", bridge::Code::kUnsupported),
            "run_config.yaml: model: use_mup: not computed here");
  EXPECT_EQ(
      with("  num_layers: 1\n  experimental_attention_variant: kda\n", bridge::Code::kUnsupported),
      "run_config.yaml: model: experimental_attention_variant: 'kda' is not computed here");
  EXPECT_EQ(
      with("  num_layers: 1\n  experimental_attention_variant: dsa\n", bridge::Code::kUnsupported),
      "run_config.yaml: model: experimental_attention_variant: 'dsa' is computed with "
      "multi_latent_attention only");
  EXPECT_EQ(with("  num_layers: 1\n  experimental_attention_variant: gdn\n"),
            "run_config.yaml: model: linear_attention_freq: missing");
  EXPECT_EQ(with("  num_layers: 1\n  enable_hyper_connections: true\n", bridge::Code::kUnsupported),
            "run_config.yaml: model: enable_hyper_connections: what is computed is dsv4_hybrid "
            "with them");
  EXPECT_EQ(with("  num_layers: 1\n  enable_mhc_connections: true\n"), "accepted");
  EXPECT_EQ(with("  num_layers: 1\n  enable_mhc_connections: true\n  mtp_num_layers: 1\n",
                 bridge::Code::kUnsupported),
            "run_config.yaml: model: enable_mhc_connections: with mtp_num_layers: Megatron-LM main "
            "has no such model");
  EXPECT_EQ(with("  num_layers: 1\n  window_size: [4, 4]\n", bridge::Code::kUnsupported),
            "run_config.yaml: model: window_size: (tokens before, 0) is the form that is computed "
            "here");
  EXPECT_EQ(bridge::refusal_of([] { megatron("tokenizer: {}"); }, bridge::Code::kBadInput),
            "run_config.yaml: no model section");
  EXPECT_EQ(bridge::refusal_of([] { megatron("- 1"); }, bridge::Code::kBadInput),
            "run_config.yaml: no model section");
  EXPECT_NE(bridge::refusal_of([] { megatron("model: ["); }, bridge::Code::kBadInput), "accepted");
}

// The same tensors but for the head, which only dev's hyper-connections have.
TEST(MegatronConfig, HyperConnectionsOfMain) {
  const ModelConfig config = megatron(std::string(kModel) +
                                      "  num_layers: 2\n  enable_mhc_connections: true\n"
                                      "  mhc_num_residual_streams: 3\n"
                                      "  mhc_sinkhorn_iterations: 5\n");
  EXPECT_EQ(config.hyper.dialect, HyperDialect::kMegatronMain);
  EXPECT_EQ(config.hyper.streams, 3);
  EXPECT_EQ(config.hyper.steps, 5);
  EXPECT_EQ(config.hyper.eps, 1e-6);
  int mappings = 0;
  int heads = 0;
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape&) {
    mappings += id.role == Role::kAttentionMapping || id.role == Role::kMlpMapping ? 1 : 0;
    heads += id.role == Role::kHeadMapping ? 1 : 0;
  });
  EXPECT_EQ(mappings, 4);
  EXPECT_EQ(heads, 0);
}

// dsv4_hybrid gives depths their own ratios, but there must still be a layer before them.
TEST(MegatronConfig, DepthsWithoutLayers) {
  const std::string yaml = std::string(kModel) + R"(  num_layers: 0
  mtp_num_layers: 1
  experimental_attention_variant: dsv4_hybrid
  enable_hyper_connections: true
  qk_layernorm: true
  csa_compress_ratios: [0]
  v_head_dim: 128
  q_lora_rank: 4
  o_groups: 1
  o_lora_rank: 4
  num_moe_experts: 4
)";
  EXPECT_EQ(bridge::refusal_of([&] { megatron(yaml); }, bridge::Code::kBadInput),
            "run_config.yaml: model: no layers");
}

// A pair of a HybridModel's layers is a layer here, with experts where the pattern says so.
TEST(MegatronConfig, PairsOfAHybridModel) {
  const std::string model = std::string(kModel) + "  num_moe_experts: 4\n  moe_router_topk: 2\n";
  const ModelConfig gpt = megatron(model + "  num_layers: 2\n  moe_layer_freq: [0, 1]\n");
  const ModelConfig hybrid = megatron(model + R"(  num_layers: 4
  hybrid_layer_pattern: "*-|*E"
)");
  EXPECT_EQ(describe(gpt), describe(hybrid));
  const auto with = [&](const std::string& more) {
    return bridge::refusal_of([&] { megatron(model + more); }, bridge::Code::kUnsupported);
  };
  EXPECT_EQ(with("  num_layers: 4\n  hybrid_layer_pattern: \"*-G-\"\n"),
            "run_config.yaml: model: hybrid_layer_pattern: 'G-' at 2: pairs *- and *E (attention, "
            "then an MLP) are computed");
  EXPECT_EQ(with("  num_layers: 4\n  is_hybrid_model: true\n"),
            "run_config.yaml: model: is_hybrid_model: not computed without hybrid_layer_pattern");
  EXPECT_EQ(with("  num_layers: 2\n  hybrid_layer_pattern: \"*E\"\n  rope_scaling: true\n"),
            "run_config.yaml: model: rope_scaling: not computed for a HybridModel");
}

// A small file with eleven levels of ten aliases each must not expand.
TEST(MegatronConfig, AliasesDoNotGrow) {
  std::string yaml = "a0: &a0 [1, 1]\n";
  for (int level = 1; level <= 11; ++level) {
    const std::string below = "*a" + std::to_string(level - 1);
    yaml += "a" + std::to_string(level) + ": &a" + std::to_string(level) + " [" + below;
    for (int i = 1; i < 10; ++i) yaml += ", " + below;
    yaml += "]\n";
  }
  yaml += "model: {x: *a11}\n";
  EXPECT_EQ(bridge::refusal_of([&] { megatron(yaml); }, bridge::Code::kBadInput),
            "run_config.yaml: too many values");
}

TEST(MegatronConfig, ScalarsAreReadAsPythonReadsThem) {
  const Settings model = megatron_settings(
      "model: {a: 1.0e-06, b: 10000, c: null, d: ~, e: 'true', f: true, g: [1, 0], h: +2, i: }");
  EXPECT_EQ(model.real("a"), 1e-6);
  EXPECT_EQ(model.integer("b"), 10000);
  EXPECT_FALSE(model.has("c") || model.has("d") || model.has("i") || model.has("z"));
  EXPECT_EQ(model.text_or("e", ""), "true");
  EXPECT_TRUE(model.flag_or("f", false));
  EXPECT_EQ(model.integers("g"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(model.integer("h"), 2);
}

TEST(TensorId, Names) {
  std::vector<std::string> names;
  ModelConfig config;
  config.hidden = 4;
  config.vocab = 8;
  GroupedAttention attention;
  attention.heads = 2;
  attention.kv_heads = 1;
  attention.head_dim = 2;
  MixtureOfExperts experts;
  experts.router.experts = 1;
  experts.width = 3;
  config.layers = {{attention, DenseMlp{6, false}}};
  config.mtp = {{attention, experts}};
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
    names.push_back(to_string(id) + " " + bridge::shape_text(shape));
  });
  EXPECT_EQ(names, (std::vector<std::string>{
                       "embedding [8, 4]",
                       "layers.0.attention_norm [4]",
                       "layers.0.q [4, 4]",
                       "layers.0.k [2, 4]",
                       "layers.0.v [2, 4]",
                       "layers.0.o [4, 4]",
                       "layers.0.mlp_norm [4]",
                       "layers.0.gate [6, 4]",
                       "layers.0.up [6, 4]",
                       "layers.0.down [4, 6]",
                       "final_norm [4]",
                       "mtp.0.embedding_norm [4]",
                       "mtp.0.hidden_norm [4]",
                       "mtp.0.projection [4, 8]",
                       "mtp.0.layer.attention_norm [4]",
                       "mtp.0.layer.q [4, 4]",
                       "mtp.0.layer.k [2, 4]",
                       "mtp.0.layer.v [2, 4]",
                       "mtp.0.layer.o [4, 4]",
                       "mtp.0.layer.mlp_norm [4]",
                       "mtp.0.layer.router [1, 4]",
                       "mtp.0.layer.experts.0.gate [3, 4]",
                       "mtp.0.layer.experts.0.up [3, 4]",
                       "mtp.0.layer.experts.0.down [4, 3]",
                       "mtp.0.final_norm [4]",
                       "output [8, 4]",
                   }));
}

}  // namespace
}  // namespace models
