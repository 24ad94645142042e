// Tests the forms in which DeepSeek-V4 occurs: spellings of its tensors and of its configuration,
// and refusals by name. The expected names are those of transformers 5.23 (in memory, and as its
// save_pretrained writes them) and of the older MTP layers that NeMo Automodel's pull request 2191
// describes.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/small_models.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

// The layers are sliding, compressed with an indexer, heavily compressed, and like the second; the
// first two route by hash.
Json tiny() {
  Json config = Json::parse(kDeepSeekV4Flash);
  config["num_hidden_layers"] = 4;
  config["n_routed_experts"] = 8;
  config["num_hash_layers"] = 2;
  config["compress_ratios"] = {0, 4, 128, 4, 0};
  config["rope_theta"] = 20000;  // differs from the default
  config["compress_rope_theta"] = 320000;
  return config;
}

// The form that transformers writes for the same model, without the flat copies of its
// rope_parameters.
Json tiny_of_transformers() {
  Json config = tiny();
  for (const char* key : {"compress_ratios", "num_hash_layers", "rope_scaling", "rope_theta",
                          "compress_rope_theta", "qk_rope_head_dim"}) {
    config.erase(key);
  }
  config.merge_patch(Json::parse(R"({
    "layer_types": ["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention",
                    "compressed_sparse_attention"],
    "mlp_layer_types": ["hash_moe", "hash_moe", "moe", "moe"],
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
    "partial_rotary_factor": 0.125,
    "rope_parameters": {
      "main": {"partial_rotary_factor": 0.125, "rope_theta": 20000, "rope_type": "default"},
      "compress": {"attention_factor": 1.0, "beta_fast": 32, "beta_slow": 1, "factor": 16,
                   "original_max_position_embeddings": 65536, "rope_theta": 320000, "rope_type": "yarn"}}})"));
  return config;
}

using Sources = std::map<std::string, std::vector<std::string>>;  // by Megatron name

Sources sources_of(const Binding& binding, size_t dialect) {
  Sources sources;
  binding.for_each_tensor(dialect, false, [&](const LogicalTensor& tensor) {
    for (const HfTensorSpec& spec : tensor.hf) sources[tensor.name].push_back(spec.name);
  });
  return sources;
}

// Returns the sources in the dialect chosen for a folder with these tensors.
Sources chosen_for(const Json& config, const std::set<std::string>& names) {
  const Binding binding = bound(config);
  return sources_of(binding, binding.choose_dialect([&](std::string_view name) {
    return names.contains(std::string(name));
  }));
}

const std::string kAttention = "decoder.layers.1.self_attention.";
const std::string kIndexer = kAttention + "core_attention.indexer.";
const std::string kFrame = "mtp.layers.0.";

TEST(DeepSeekV4Spellings, OfTransformersModules) {
  Sources names = chosen_for(tiny(), {"model.embed_tokens.weight", "lm_head.weight",
                                      "model.layers.0.self_attn.kv_norm.weight"});
  const std::pair<std::string, const char*> kExpected[] = {
      {"embedding.word_embeddings.weight", "model.embed_tokens.weight"},
      {"output_layer.weight", "lm_head.weight"},
      {"decoder.final_layernorm.weight", "model.norm.weight"},
      {"decoder.hc_head_scale", "model.hc_head.hc_scale"},
      {"decoder.layers.1.input_layernorm.weight", "model.layers.1.input_layernorm.weight"},
      {kAttention + "q_layernorm.weight", "model.layers.1.self_attn.q_a_norm.weight"},
      {kAttention + "linear_q_up_proj.weight", "model.layers.1.self_attn.q_b_proj.weight"},
      {kAttention + "kv_layernorm.weight", "model.layers.1.self_attn.kv_norm.weight"},
      {kAttention + "linear_o_group_proj", "model.layers.1.self_attn.o_a_proj.weight"},
      {kAttention + "core_attention.attn_sink", "model.layers.1.self_attn.sinks"},
      {kAttention + "core_attention.compressor.ape",
       "model.layers.1.self_attn.compressor.position_bias"},
      {kAttention + "core_attention.compressor.norm.weight",
       "model.layers.1.self_attn.compressor.kv_norm.weight"},
      {kIndexer + "linear_wq_b.weight",
       "model.layers.1.self_attn.compressor.indexer.q_b_proj.weight"},
      {kIndexer + "linear_weights_proj.weight",
       "model.layers.1.self_attn.compressor.indexer.scorer.weights_proj.weight"},
      {kIndexer + "compressor.ape", "model.layers.1.self_attn.compressor.indexer.position_bias"},
      {kIndexer + "compressor.linear_wgate.weight",
       "model.layers.1.self_attn.compressor.indexer.gate_proj.weight"},
      {kIndexer + "compressor.norm.weight",
       "model.layers.1.self_attn.compressor.indexer.kv_norm.weight"},
      {"decoder.layers.1.mlp_hyper_connection.alpha", "model.layers.1.ffn_hc.scale"},
      {"decoder.layers.1.mlp.router.tid2eid", "model.layers.1.mlp.gate.tid2eid"},
      {"decoder.layers.2.mlp.router.expert_bias",
       "model.layers.2.mlp.gate.e_score_correction_bias"},
      {"decoder.layers.2.mlp.experts.experts.linear_fc1.weight",
       "model.layers.2.mlp.experts.gate_up_proj"},
      {"decoder.layers.2.mlp.experts.experts.linear_fc2.weight",
       "model.layers.2.mlp.experts.down_proj"},
      {"decoder.layers.2.mlp.shared_experts.linear_fc2.weight",
       "model.layers.2.mlp.shared_experts.down_proj.weight"},
  };
  for (const auto& [megatron, hf] : kExpected) {
    EXPECT_EQ(names[megatron], std::vector<std::string>{hf}) << megatron;
  }
  EXPECT_EQ(names["decoder.layers.2.mlp.shared_experts.linear_fc1.weight"],
            (std::vector<std::string>{"model.layers.2.mlp.shared_experts.gate_proj.weight",
                                      "model.layers.2.mlp.shared_experts.up_proj.weight"}));
}

// One tensor has all experts; it is written in the chunks in which Megatron would write them.
TEST(DeepSeekV4Spellings, StackedExpertsHaveChunks) {
  const Binding binding = bound(tiny());
  int64_t stacked = 0;
  binding.for_each_tensor(2, false, [&](const LogicalTensor& tensor) {
    if (tensor.chunks.empty()) return;
    ++stacked;
    const bool first = tensor.name.ends_with("linear_fc1.weight");
    EXPECT_EQ(tensor.hf[0].shape,
              first ? (bridge::Shape{8, 4096, 4096}) : (bridge::Shape{8, 4096, 2048}));
    EXPECT_EQ(tensor.chunks, first ? (std::vector<int64_t>{8, 2}) : std::vector<int64_t>{8});
    EXPECT_EQ(tensor.expert, -1);
  });
  EXPECT_EQ(stacked, 2 * 5);
}

TEST(DeepSeekV4Spellings, AsTransformersSavesThem) {
  // Reads the release's names.
  Sources saved = chosen_for(
      tiny(), {"model.embed_tokens.weight", "head.weight", "model.layers.0.attn.wkv.weight"});
  EXPECT_EQ(saved["output_layer.weight"], std::vector<std::string>{"head.weight"});
  EXPECT_EQ(saved["decoder.hc_head_fn"], std::vector<std::string>{"model.hc_head.hc_fn"});
  EXPECT_EQ(saved[kAttention + "kv_layernorm.weight"],
            std::vector<std::string>{"model.layers.1.attn.norm.weight"});
  EXPECT_EQ(saved[kAttention + "q_layernorm.weight"],
            std::vector<std::string>{"model.layers.1.attn.q_norm.weight"});
  EXPECT_EQ(saved[kIndexer + "linear_weights_proj.weight"],
            std::vector<std::string>{"model.layers.1.attn.indexer.weights_proj.weight"});
  EXPECT_EQ(saved["decoder.layers.0.mlp.experts.experts.7.linear_fc2.weight"],
            std::vector<std::string>{"model.layers.0.ffn.experts.7.w2.weight"});
  EXPECT_EQ(saved["decoder.layers.0.self_attention_hyper_connection.bias"],
            std::vector<std::string>{"model.layers.0.hc_attn_base"});
  // Reads its own names.
  Sources again = chosen_for(
      tiny(), {"model.embed_tokens.weight", "lm_head.weight",
               "model.layers.0.self_attn.kv_proj.weight", "model.layers.0.self_attn.norm.weight"});
  EXPECT_EQ(again[kAttention + "kv_layernorm.weight"],
            std::vector<std::string>{"model.layers.1.self_attn.norm.weight"});
  EXPECT_EQ(again[kAttention + "q_layernorm.weight"],
            std::vector<std::string>{"model.layers.1.self_attn.q_a_norm.weight"});
  EXPECT_EQ(again[kIndexer + "compressor.norm.weight"],
            std::vector<std::string>{"model.layers.1.self_attn.compressor.indexer.norm.weight"});
}

TEST(DeepSeekV4Spellings, ScorerOfTheIndexer) {
  Sources names =
      chosen_for(tiny(), {"embed.weight", "layers.1.attn.indexer.scorer.weights_proj.weight"});
  EXPECT_EQ(names[kIndexer + "linear_weights_proj.weight"],
            std::vector<std::string>{"layers.1.attn.indexer.scorer.weights_proj.weight"});
  EXPECT_EQ(names[kIndexer + "linear_wq_b.weight"],
            std::vector<std::string>{"layers.1.attn.indexer.wq_b.weight"});
}

// The prefixes before "layers.": of the backbone, of an MTP layer's block, and of what MTP adds to
// it.
TEST(DeepSeekV4Spellings, OlderMtp) {
  struct Form {
    std::string backbone, block, frame;
    bool joined;
    std::string norm;
  };
  size_t forms = 0;
  for (const std::string backbone : {"", "model."}) {
    for (const auto& [block, frame] :
         {std::pair<std::string, std::string>{"", ""}, {"model.", "model."}, {"model.", ""}}) {
      if (!backbone.empty() && block.empty()) continue;
      for (const Form& form :
           {Form{backbone, block, frame, false, "norm"}, Form{backbone, block, frame, true, "norm"},
            Form{backbone, block, frame, true, "final_layernorm"}}) {
        ++forms;
        const std::string depth = form.frame + "layers.4.";
        const std::string fused = form.joined ? "eh_proj.weight" : "e_proj.weight";
        const std::string attention = form.block + "layers.4.attn.kv_norm.weight";
        Sources names =
            chosen_for(tiny(), {form.backbone + "embed.weight", form.backbone + "norm.weight",
                                attention, depth + fused, depth + form.norm + ".weight"});
        EXPECT_EQ(names[kFrame + "transformer_layer.self_attention.kv_layernorm.weight"],
                  std::vector<std::string>{attention});
        EXPECT_EQ(names["embedding.word_embeddings.weight"],
                  std::vector<std::string>{form.backbone + "embed.weight"});
        EXPECT_EQ(names[kFrame + "final_layernorm.weight"],
                  std::vector<std::string>{depth + form.norm + ".weight"});
        EXPECT_EQ(names[kFrame + "hc_head_base"], std::vector<std::string>{depth + "hc_head_base"});
        const std::string fused_in = form.joined ? "mtp.layers.0" : kFrame + "e_proj.weight";
        EXPECT_EQ(names[fused_in], std::vector<std::string>{depth + fused});
        EXPECT_EQ(names.contains(kFrame + "h_proj.weight"), !form.joined);
      }
    }
  }
  EXPECT_EQ(forms, 15u);
}

TEST(DeepSeekV4Spellings, JoinedLinearsOfMtpComeApart) {
  const Binding binding = bound(tiny());
  const size_t dialect = binding.choose_dialect(
      [](std::string_view name) { return name == "layers.4.eh_proj.weight"; });
  binding.for_each_tensor(dialect, false, [](const LogicalTensor& tensor) {
    if (tensor.name != "mtp.layers.0") return;
    EXPECT_EQ(tensor.row->op, &ops::kColumns);
    EXPECT_EQ(tensor.numbers.groups, 2);
    EXPECT_EQ(tensor.hf[0].shape, (bridge::Shape{4096, 8192}));
    EXPECT_EQ(tensor.row->split, (std::vector<std::string>{".e_proj.weight", ".h_proj.weight"}));
  });
  EXPECT_EQ(binding.mtp_hf_prefixes(dialect, 0), std::vector<std::string>{"layers.4."});
  EXPECT_EQ(binding.mtp_hf_prefixes(0, 1), std::vector<std::string>{"mtp.1."});
}

TEST(DeepSeekV4Configs, BothFormsSayTheSame) {
  const Binding release = bound(tiny());
  const Binding transformers = bound(tiny_of_transformers());
  EXPECT_EQ(sources_of(transformers, 0), sources_of(release, 0));
  EXPECT_EQ(transformers.megatron_config("bf16"), release.megatron_config("bf16"));
  const Json fields = release.megatron_config("bf16");
  EXPECT_EQ(fields["csa_compress_ratios"], Json({0, 4, 128, 4, 0}));
  EXPECT_EQ(fields["moe_n_hash_layers"], 2);
  EXPECT_EQ(fields["rotary_base"], 20000.0);
  EXPECT_EQ(fields["csa_compress_rotary_base"], 320000.0);
}

TEST(DeepSeekV4Configs, RatiosOfMtpAndSpareOnes) {
  const auto ratios = [](const char* text, const char* depths, bool drop = false) {
    const Json config =
        with(with(tiny(), "compress_ratios", text), "num_nextn_predict_layers", depths);
    return bound(config, {.drop_mtp = drop}).megatron_config("bf16")["csa_compress_ratios"];
  };
  EXPECT_EQ(ratios("[0, 4, 128, 4]", "1"), Json({0, 4, 128, 4, 0}));
  EXPECT_EQ(ratios("[0, 4, 128, 4, 0, 0, 0]", "1"), Json({0, 4, 128, 4, 0}));
  EXPECT_EQ(ratios("[0, 4, 128, 4, 0]", "2"), Json({0, 4, 128, 4, 0, 0}));
  EXPECT_EQ(ratios("[0, 4, 128, 4, 0]", "0"), Json({0, 4, 128, 4}));
  EXPECT_EQ(ratios("[0, 4, 128, 4, 0]", "1", true), Json({0, 4, 128, 4}));
  // An MTP layer may compress too.
  const std::set<std::string> names =
      megatron_names(bound(with(tiny(), "compress_ratios", "[0, 4, 128, 4, 128]")), false, kFrame);
  EXPECT_TRUE(names.contains("transformer_layer.self_attention.core_attention.compressor.ape"));
  EXPECT_THROW(bound(with(tiny(), "compress_ratios", "[0, 4, 128]")), bridge::Error);
}

// All layers may route by hash, and the configuration may count more of them than there are layers.
TEST(DeepSeekV4Configs, AllLayersHash) {
  for (const char* number : {"4", "5", "61"}) {
    const Binding binding = bound(with(tiny(), "num_hash_layers", number));
    EXPECT_EQ(binding.megatron_config("bf16")["moe_n_hash_layers"], 4) << number;
    const std::set<std::string> names = megatron_names(binding, false, "");
    for (const std::string layer : {"0", "1", "2", "3"}) {
      const std::string router = "decoder.layers." + layer + ".mlp.router.";
      EXPECT_TRUE(names.contains(router + "tid2eid")) << number << " " << layer;
      EXPECT_FALSE(names.contains(router + "expert_bias")) << number << " " << layer;
    }
    // MTP never routes by hash.
    const std::string router = kFrame + "transformer_layer.mlp.router.";
    EXPECT_FALSE(names.contains(router + "tid2eid"));
    EXPECT_TRUE(names.contains(router + "expert_bias"));
  }
}

std::set<std::string> mtp_names(const Binding& binding, size_t dialect, int64_t depth) {
  std::set<std::string> names;
  binding.for_each_mtp_name(dialect, depth, [&](const std::string& name) {
    EXPECT_TRUE(names.insert(name).second) << name;
  });
  return names;
}

// The names of a depth that config.json does not count are those that it would have if it were
// counted.
TEST(DeepSeekV4Mtp, UncountedDepthsHaveTheNamesOfCountedOnes) {
  const Json none = with(tiny(), "num_nextn_predict_layers", "0");
  const Binding uncounted = bound(none);
  ASSERT_NE(uncounted.uncounted_mtp(), nullptr);
  EXPECT_TRUE(megatron_names(uncounted, false, "mtp.").empty());
  const Binding counted = bound(with(tiny(), "num_nextn_predict_layers", "2"));
  EXPECT_EQ(counted.uncounted_mtp(), nullptr);
  for (size_t dialect = 0; dialect < counted.dialect_count(); ++dialect) {
    std::set<std::string> expected;
    counted.for_each_tensor(dialect, false, [&](const LogicalTensor& tensor) {
      if (!tensor.name.starts_with("mtp.layers.1")) return;
      for (const HfTensorSpec& spec : tensor.hf) expected.insert(spec.name);
    });
    counted.for_each_drop(dialect, [&](const DroppedTensor& tensor) {
      const bool second = tensor.name.find(".1.") != std::string::npos ||
                          tensor.name.find("layers.5.") != std::string::npos;
      if (second) expected.insert(tensor.name);
    });
    EXPECT_EQ(mtp_names(uncounted, dialect, 1), expected) << dialect;
  }
}

TEST(DeepSeekV4Mtp, UncountedOnlyWhereTheConfigurationSaysNone) {
  EXPECT_EQ(bound(without(tiny(), "num_nextn_predict_layers")).uncounted_mtp(), nullptr);
  EXPECT_EQ(bound(with(tiny(), "num_nextn_predict_layers", "null")).uncounted_mtp(), nullptr);
  EXPECT_EQ(
      bound(with(tiny(), "num_nextn_predict_layers", "1"), {.drop_mtp = true}).uncounted_mtp(),
      nullptr);
  EXPECT_EQ(
      bound(with(tiny(), "num_nextn_predict_layers", "0"), {.drop_mtp = true}).uncounted_mtp(),
      nullptr);
}

// Uncounted depths still tell the dialects apart.
TEST(DeepSeekV4Mtp, UncountedDepthsAreRecognised) {
  const Json none = with(tiny(), "num_nextn_predict_layers", "0");
  for (const bool drop : {false, true}) {
    const Binding binding = bound(none, {.drop_mtp = drop});
    const size_t dialect = binding.choose_dialect([](std::string_view name) {
      return name == "embed.weight" || name == "model.layers.4.attn.kv_norm.weight" ||
             name == "layers.4.eh_proj.weight" || name == "layers.4.final_layernorm.weight";
    });
    const std::set<std::string> names = mtp_names(binding, dialect, 0);
    for (const char* name : {"model.layers.4.attn.kv_norm.weight", "layers.4.eh_proj.weight",
                             "layers.4.final_layernorm.weight"}) {
      EXPECT_TRUE(names.contains(name)) << name;
    }
  }
}

struct Change {
  const char* key;
  const char* value;
  const char* message;
};

TEST(DeepSeekV4Configs, RefusedByName) {
  const Change kCases[] = {
      {"model_type", "\"deepseek_v41\"", "deepseek_v41 is not supported: DeepSeek-V4.1"},
      {"architectures", R"(["DeepseekV41ForCausalLM"])",
       "DeepseekV41ForCausalLM is not supported: DeepSeek-V4.1"},
      {"dspark_block_size", "5", "DSpark draft stages (dspark_block_size 5)"},
      {"dspark_target_layer_ids", "[1, 2]", "--mtp drop"},
      {"hidden_act", "\"gelu\"", "hidden_act 'gelu'"},
      {"scoring_func", "\"sigmoid\"", "scoring_func 'sigmoid'"},
      {"topk_method", "\"greedy\"", "topk_method 'greedy'"},
      {"attention_bias", "true", "attention_bias true"},
      {"mlp_bias", "true", "mlp_bias true"},
      {"num_key_value_heads", "2", "num_key_value_heads 2"},
      {"expert_dtype", "\"nvfp4\"", "expert_dtype 'nvfp4'"},
      {"quantization_config", R"({"quant_method": "modelopt"})", "quant_method 'modelopt'"},
      {"quantization_config", R"({"quant_method": "fp8"})", "without weight_block_size"},
      {"quantization_config", R"({"quant_method": "fp8", "weight_block_size": [1, 2, 3]})",
       "[1,2,3]"},
      {"quantization_config",
       R"({"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]})", "fmt 'e5m2'"},
      {"quantization_config",
       R"({"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": [128, 128]})",
       "activation_scheme 'static'"},
      {"compress_ratios", "[0, 4, 8, 4, 0]", "[0,4,8,4,0]"},
      {"compress_ratios", "[0, 4, 128, 4, 2]", "[0,4,128,4,2]"},
      {"compress_ratios", "null", "neither compress_ratios nor layer_types"},
      {"mlp_layer_types", R"(["hash_moe", "moe", "moe", "moe"])",
       "num_hash_layers 2 and mlp_layer_types"},
      {"layer_types",
       R"(["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention"])",
       "compress_ratios and layer_types"},
  };
  const auto refused = [](const Json& config, const char* message) {
    bridge::expect_error(bridge::Code::kUnsupported, message, [&] { bound(config); });
  };
  for (const Change& change : kCases)
    refused(with(tiny(), change.key, change.value), change.message);
  const Json saved = tiny_of_transformers();
  refused(with(saved, "mlp_layer_types", R"(["hash_moe", "moe", "hash_moe", "moe"])"),
          "hash_moe in the first layers");
  refused(with(saved, "mlp_layer_types", R"(["hash_moe", "dense", "moe", "moe"])"), "\"dense\"");
  refused(
      with(
          saved, "layer_types",
          R"(["linear_attention", "sliding_attention", "sliding_attention", "sliding_attention"])"),
      "linear_attention");
  // DSpark's stages lie where MTP would; without them, the model is an ordinary one.
  EXPECT_TRUE(megatron_names(bound(with(tiny(), "dspark_block_size", "5"), {.drop_mtp = true}),
                             false, "mtp.")
                  .empty());
}

// The architecture, the model type or --arch may name it; --arch cannot bypass the other two.
TEST(DeepSeekV4Configs, AnotherModelIsRefusedWithARemedy) {
  const Json by_architecture = Json::parse(R"({"architectures": ["DeepseekV41ForCausalLM"]})");
  const Json by_type = Json::parse(R"({"model_type": "deepseek_v41"})");
  struct Case {
    Json config;
    const char* arch;
  };
  const Case kCases[] = {
      {by_architecture, ""},
      {by_type, ""},
      {by_type, "DeepseekV4ForCausalLM"},
      {Json::object(), "DeepseekV41ForCausalLM"},
      {Json::object(), "deepseek_v41"},
  };
  for (const Case& each : kCases) {
    const bridge::Error e =
        bridge::expect_error(bridge::Code::kUnsupported, "DeepSeek-V4.1 is another architecture",
                             [&] { find_table(each.config, each.arch); });
    EXPECT_NE(e.hint().find("convert a DeepSeek-V4 checkpoint"), std::string::npos) << e.hint();
  }
}

TEST(DeepSeekV4Configs, WarnOfWhatMegatronLacks) {
  const Change kCases[] = {
      {"compress_ratios", "[0, 4, 128, 4, 0, 0, 128]", "[0,4,128,4,0,0,128] has more entries"},
      {"compress_ratios", "[0, 4, 128, 4, 0, 4]", "than the 4 layers and 1 MTP layers"},
      {"rms_norm_eps", "1e-05", "rms_norm_eps 1e-05"},
      {"hc_eps", "1e-05", "hc_eps 1e-05"},
      {"norm_topk_prob", "false", "norm_topk_prob false with num_experts_per_tok 6"},
      {"rope_scaling", R"({"type": "linear", "factor": 2.0})", "rope type 'linear'"},
  };
  EXPECT_TRUE(bound(tiny()).warnings().empty());
  EXPECT_TRUE(bound(with(tiny(), "compress_ratios", "[0, 4, 128, 4, 0, 0]")).warnings().empty());
  EXPECT_TRUE(bound(with(tiny(), "compress_ratios", "[0, 4, 128, 4, 128]")).warnings().empty());
  EXPECT_TRUE(bound(tiny_of_transformers()).warnings().empty());
  for (const Change& change : kCases) {
    const std::vector<std::string> texts = bound(with(tiny(), change.key, change.value)).warnings();
    ASSERT_EQ(texts.size(), 1u) << change.message;
    EXPECT_NE(texts[0].find(change.message), std::string::npos) << texts[0];
  }
}

}  // namespace
}  // namespace mappings
