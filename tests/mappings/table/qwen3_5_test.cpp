// Tests the tables of Qwen3.5, 3.6 and Qwen3-Next against lists of all tensors of full-size models
// (computed from the layout, data/keys), against the names of Megatron-Bridge's registries, and
// under the variants that configurations can request.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <tuple>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/megatron/megatron_args.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/listed_tensors.h"
#include "tests/mappings/table/reference.h"
#include "tests/mappings/table/small_models.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

constexpr char kText[] = R"({"hidden_act": "silu", "head_dim": 256, "full_attention_interval": 4,
  "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
  "mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": false, "vocab_size": 248320})";
constexpr char kVision[] = R"({"depth": 27, "hidden_size": 1152, "intermediate_size": 4304,
  "num_heads": 16, "in_channels": 3, "patch_size": 16, "temporal_patch_size": 2,
  "spatial_merge_size": 2, "num_position_embeddings": 2304, "deepstack_visual_indexes": []})";

// text: the keys of text_config that state the size of the model.
Json vl(const char* architecture, const char* text) {
  Json config = {{"architectures", {architecture}}, {"tie_word_embeddings", false}};
  config["text_config"] = Json::parse(kText);
  config["text_config"].merge_patch(Json::parse(text));
  config["vision_config"] = Json::parse(kVision);
  config["vision_config"]["out_hidden_size"] = config["text_config"]["hidden_size"];
  return config;
}

constexpr char k27B[] = R"({"hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 24,
  "num_key_value_heads": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 48,
  "intermediate_size": 17408})";
constexpr char k35B[] = R"({"hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
  "num_key_value_heads": 2, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
  "num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512,
  "shared_expert_intermediate_size": 512})";
constexpr char k397B[] = R"({"hidden_size": 4096, "num_hidden_layers": 60,
  "num_attention_heads": 32, "num_key_value_heads": 2, "linear_num_key_heads": 16,
  "linear_num_value_heads": 64, "num_experts": 512, "num_experts_per_tok": 10,
  "moe_intermediate_size": 1024, "shared_expert_intermediate_size": 1024})";
constexpr char kDense[] = "Qwen3_5ForConditionalGeneration";
constexpr char kMoe[] = "Qwen3_5MoeForConditionalGeneration";

// Builds a text model, whose configuration is that of the text part alone.
Json text_only(const char* architecture, const char* text) {
  Json config = vl(architecture, text)["text_config"];
  config["architectures"] = {architecture};
  return config;
}

constexpr char kNext[] = R"({"architectures": ["Qwen3NextForCausalLM"], "hidden_act": "silu",
  "head_dim": 256, "full_attention_interval": 4, "linear_conv_kernel_dim": 4,
  "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16,
  "linear_num_value_heads": 32, "hidden_size": 2048, "intermediate_size": 5120,
  "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
  "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
  "shared_expert_intermediate_size": 512, "vocab_size": 151936, "mlp_only_layers": [],
  "decoder_sparse_step": 1, "norm_topk_prob": true})";

// A model of the same kind with three periods of layers and few experts, for what does not depend
// on size: names of layers and of experts differ only by their number.
Json shallow(Json config) {
  Json& text = config.contains("text_config") ? config["text_config"] : config;
  text["num_hidden_layers"] = 12;
  if (text.contains("num_experts")) text["num_experts"] = 16;
  if (config.contains("vision_config")) config["vision_config"]["depth"] = 12;
  return config;
}

struct FullSizeModel {
  const char* name;
  const char* architecture;
  const char* text;
  const char* mtp_experts;
  bool f32_norms;  // of DeltaNet; A_log as well
};

class QwenFullSize : public ::testing::TestWithParam<FullSizeModel> {};

TEST_P(QwenFullSize, NamesAndShapes) {
  std::map<std::string, ListedTensor> left =
      listed_tensors(std::string(GetParam().name) + ".tsv.gz");
  ASSERT_GE(left.size(), 1045u);
  const Binding binding = bound(vl(GetParam().architecture, GetParam().text));
  const size_t dialect = binding.choose_dialect(
      [&](std::string_view name) { return left.contains(std::string(name)); });
  const auto& texts = binding.table().dialects[dialect];
  const std::map<std::string, std::string> spelling(texts.begin(), texts.end());
  EXPECT_EQ(spelling.at("mtp_experts"), GetParam().mtp_experts);
  EXPECT_EQ(spelling.at("decoder_experts"), "together");
  EXPECT_EQ(spelling.at("P"), "model.language_model.");
  binding.for_each_tensor(dialect, false, [&](const LogicalTensor& tensor) {
    for (const HfTensorSpec& spec : tensor.hf) {
      const auto it = left.find(spec.name);
      ASSERT_NE(it, left.end()) << spec.name;
      EXPECT_EQ(it->second.shape, spec.shape) << spec.name;
      const bool f32 = GetParam().f32_norms && (spec.name.ends_with(".A_log") ||
                                                spec.name.ends_with(".linear_attn.norm.weight"));
      EXPECT_EQ(it->second.dtype, f32 ? "F32" : "BF16") << spec.name;
      left.erase(it);
    }
  });
  EXPECT_TRUE(left.empty()) << left.size() << " not in the table, as " << left.begin()->first;
  EXPECT_TRUE(binding.warnings().empty());
  EXPECT_EQ(binding.name_prefix(), "language_model.");
}

INSTANTIATE_TEST_SUITE_P(
    All, QwenFullSize,
    ::testing::Values(FullSizeModel{"qwen3_5_27b", kDense, k27B, "together", true},
                      FullSizeModel{"qwen3_5_35b_a3b", kMoe, k35B, "apart", true},
                      FullSizeModel{"qwen3_6_35b_a3b", kMoe, k35B, "together", false},
                      FullSizeModel{"qwen3_5_397b_a17b", kMoe, k397B, "apart", true}),
    [](const auto& param) { return std::string(param.param.name); });

// One of Bridge's registries, and the dialect of the table that it uses.
struct Registry {
  const char* name;
  Json config;
  std::string text_prefix;
  const char* decoder_experts;
  const char* mtp_experts;
};

class QwenRegistry : public ::testing::TestWithParam<Registry> {};

size_t dialect_of(const Registry& registry, const Table& table) {
  for (size_t i = 0; i < table.dialects.size(); ++i) {
    std::map<std::string, std::string> texts(table.dialects[i].begin(), table.dialects[i].end());
    if (texts["P"] == registry.text_prefix && texts["mtp_experts"] == registry.mtp_experts &&
        texts["decoder_experts"] == registry.decoder_experts) {
      return i;
    }
  }
  ADD_FAILURE() << registry.name;
  return 0;
}

// Kinds that say where rows go or how values change. Bridge has more kinds than there are distinct
// ways.
std::string kind_that_matters(const LogicalTensor& tensor, size_t part) {
  static const char* const kQkv[] = {"QKVMapping[q]", "QKVMapping[k]", "QKVMapping[v]"};
  const Op* op = tensor.row->op;
  if (op == &ops::kGatedQkv) return kQkv[part];
  if (op == &ops::kGroup) return "ConcatenatedQKVMapping";
  if (op == &ops::kMinusOne) return "RMSNorm2ZeroCenteredRMSNormMapping";
  return tensor.row->gated ? kind_of(tensor, part) : "";
}

TEST_P(QwenRegistry, NamesAreThoseOfMegatronBridge) {
  using NamedKind = std::tuple<std::string, std::string, std::string>;  // Megatron, HF, kind
  const std::regex mtp("mtp\\.layers\\.0\\.");
  std::set<NamedKind> reference;
  for (const ReferenceRow& row : read_reference_rows(GetParam().name)) {
    if (row.megatron.find("local_experts") != std::string::npos) continue;
    const std::string megatron = std::regex_replace(row.megatron, mtp, "mtp.layers.*.");
    const std::string hf = std::regex_replace(row.hf, mtp, "mtp.layers.*.");
    const bool matters = row.kind.starts_with("QKV") || row.kind.starts_with("Concatenated") ||
                         row.kind.starts_with("GatedMLP") || row.kind.starts_with("RMSNorm2");
    const std::string kind = matters ? row.kind : "";
    if (!megatron.ends_with(".**")) {
      reference.emplace(megatron, hf, kind);
      continue;
    }
    for (const char* suffix : {"weight", "bias"}) {
      reference.emplace(megatron.substr(0, megatron.size() - 2) + suffix,
                        hf.substr(0, hf.size() - 2) + suffix, kind);
    }
  }
  const std::pair<std::regex, const char*> kSpellings[] = {
      {std::regex("experts\\.experts\\.(\\d+\\.)?(linear_fc\\d)\\.weight"), "experts.$2.weight*"},
      {std::regex("\\.experts\\.\\d+"), ".experts.*"},
      {std::regex("(layers|blocks)\\.\\d+"), "$1.*"},
      {std::regex("transformer_layer"), "mtp_model_layer"},
      {std::regex("in_proj\\.weight\\.(z|beta|alpha)$"), "in_proj.weight"},
  };
  const auto registered = [&](std::string name) {
    for (const auto& [own, theirs] : kSpellings) name = std::regex_replace(name, own, theirs);
    return name;
  };
  const Binding binding = bound(shallow(GetParam().config), {.mtp_depths = 1});
  std::set<NamedKind> own;
  const size_t dialect = dialect_of(GetParam(), binding.table());
  binding.for_each_tensor(dialect, false, [&](const LogicalTensor& tensor) {
    const std::string prefix = tensor.row->part.empty() ? binding.name_prefix() : "";
    for (size_t part = 0; part < tensor.hf.size(); ++part) {
      own.emplace(prefix + registered(tensor.name), registered(tensor.hf[part].name),
                  kind_that_matters(tensor, part));
    }
  });
  // Neither Bridge nor the release has a dense MLP in Qwen3-Next.
  EXPECT_EQ(own, reference);
}

INSTANTIATE_TEST_SUITE_P(
    All, QwenRegistry,
    ::testing::Values(Registry{"qwen3_5_dense_vl", vl(kDense, k27B), "model.language_model.",
                               "together", "together"},
                      Registry{"qwen3_5_dense_text", text_only("Qwen3_5ForCausalLM", k27B),
                               "model.", "together", "together"},
                      Registry{"qwen3_5_moe_vl_packed", vl(kMoe, k35B), "model.language_model.",
                               "together", "apart"},
                      Registry{"qwen3_5_moe_text_packed", text_only("Qwen3_5MoeForCausalLM", k35B),
                               "model.", "together", "together"},
                      Registry{"qwen3_5_moe_text_per_expert",
                               text_only("Qwen3_5MoeForCausalLM", k35B), "model.", "apart",
                               "apart"},
                      Registry{"qwen3_next", Json::parse(kNext), "model.", "apart", "apart"}),
    [](const auto& param) { return std::string(param.param.name); });

Json with_text(Json config, const char* patch) {
  config["text_config"].merge_patch(Json::parse(patch));
  return config;
}

TEST(Qwen35, KindsOfLayers) {
  const auto linear_layers = [](const Binding& binding) {
    std::string layers;
    binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
      if (tensor.name.ends_with(".A_log")) layers += std::to_string(tensor.layer);
    });
    return layers;
  };
  const Json config = with_text(vl(kDense, k27B), R"({"num_hidden_layers": 6})");
  const Json every = with_text(config, R"({"full_attention_interval": 2})");
  EXPECT_EQ(linear_layers(bound(every)), "024");
  // If the layers are named one by one, the list counts.
  const Json named =
      with_text(every, R"({"layer_types": ["full_attention", "linear_attention", "full_attention",
    "linear_attention", "linear_attention", "full_attention"]})");
  EXPECT_EQ(linear_layers(bound(named)), "134");
  EXPECT_EQ(bound(named).megatron_config("bf16")["linear_attention_freq"],
            Json({0, 1, 0, 1, 1, 0}));
}

// Bridge uses the name of newer versions; Megatron-Core 0.16 knows only the older one.
TEST(Qwen35, NameOfItsAttention) {
  const Json provider = bound(shallow(vl(kDense, k27B))).megatron_config("bf16");
  EXPECT_EQ(provider["experimental_attention_variant"], "gdn");
  EXPECT_EQ(megatron_args(provider, {})["experimental_attention_variant"], "gated_delta_net");
}

// The flag of the whole model counts if there is a vision tower, otherwise that of the text model.
TEST(Qwen35, TiedEmbeddings) {
  const Json config = shallow(vl(kDense, k27B));
  EXPECT_FALSE(bound(with_text(config, R"({"tie_word_embeddings": true})")).tied());
  EXPECT_TRUE(bound(with(config, "tie_word_embeddings", "true")).tied());
  EXPECT_FALSE(bound(without(config, "tie_word_embeddings")).tied());
  const Json text = shallow(text_only("Qwen3_5ForCausalLM", k27B));
  EXPECT_TRUE(bound(with(text, "tie_word_embeddings", "true")).tied());
  EXPECT_EQ(bound(text).name_prefix(), "");
}

TEST(Qwen35, WithoutOutputGates) {
  const Json config = with_text(shallow(vl(kDense, k27B)), R"({"attn_output_gate": false})");
  bound(config).for_each_tensor(0, false, [](const LogicalTensor& tensor) {
    if (tensor.name != "decoder.layers.3.self_attention.linear_qkv.weight") return;
    EXPECT_EQ(tensor.row->op, &ops::kQkv);
    EXPECT_EQ(tensor.hf[0].shape, (bridge::Shape{24 * 256, 5120}));
  });
  EXPECT_EQ(bound(config).megatron_config("bf16")["attention_output_gate"], false);
}

// "mtp." contains everything of the layer and of its frame.
TEST(Qwen35, MtpIsOneLayer) {
  const Binding binding = bound(shallow(vl(kDense, k27B)), {.drop_mtp = true});
  EXPECT_TRUE(megatron_names(binding, false, "mtp.").empty());
  EXPECT_EQ(outermost(binding.mtp_hf_prefixes(0, 0)), std::vector<std::string>{"mtp."});
  EXPECT_EQ(binding.megatron_config("bf16")["mtp_num_layers"], nullptr);
}

TEST(Qwen35, RefusesByName) {
  struct Change {
    const char* text;
    const char* message;
  };
  const Change kCases[] = {
      {R"({"hidden_act": "gelu"})", "hidden_act 'gelu'"},
      {R"({"attention_bias": true})", "attention_bias true"},
      {R"({"mtp_num_hidden_layers": 2})", "mtp_num_hidden_layers 2"},
      {R"({"mtp_use_dedicated_embeddings": true})", "mtp_use_dedicated_embeddings true"},
      {R"({"num_hidden_layers": 2, "layer_types": ["linear_attention", "mamba"]})", "\"mamba\""},
      {R"({"num_hidden_layers": 2, "layer_types": ["full_attention"]})", "of 2 layers"},
      {R"({"num_hidden_layers": 6})", "a last layer of linear_attention"},
  };
  for (const Change& change : kCases) {
    const Json config = with_text(shallow(vl(kMoe, k35B)), change.text);
    bridge::expect_error(bridge::Code::kUnsupported, change.message, [&] { bound(config); });
  }
  // Mistakes that concern only MTP do not matter without MTP.
  for (const char* text :
       {R"({"mtp_num_hidden_layers": 2})", R"({"mtp_use_dedicated_embeddings": true})",
        R"({"num_hidden_layers": 6})"}) {
    EXPECT_NO_THROW(bound(with_text(shallow(vl(kMoe, k35B)), text), {.drop_mtp = true})) << text;
  }
  for (const char* name : {"Qwen4ExpForConditionalGeneration", "Qwen4ExpForCausalLM"}) {
    EXPECT_THROW(bound(with(shallow(vl(kMoe, k35B)), "architectures", Json({name}).dump())),
                 bridge::Error);
  }
  Json deepstack = shallow(vl(kMoe, k35B));
  deepstack["vision_config"]["deepstack_visual_indexes"] = {8, 16};
  EXPECT_THROW(bound(deepstack), bridge::Error);
}

// Released configurations of Qwen3-Next do not count their MTP layer.
TEST(Qwen3Next, MtpThatConfigJsonDoesNotCount) {
  const Json config = shallow(Json::parse(kNext));
  EXPECT_TRUE(bound(config).asks_for_mtp_depths());
  EXPECT_TRUE(megatron_names(bound(config), false, "mtp.").empty());
  const Binding found = bound(config, {.mtp_depths = 1});
  EXPECT_EQ(found.promised_mtp_depths(), 1);
  EXPECT_EQ(megatron_names(found, false, "mtp.layers.0.transformer_layer.mlp.experts.").size(),
            2u * 16);
  EXPECT_EQ(found.megatron_config("bf16")["mtp_num_layers"], 1);
  const Binding dropped = bound(config, {.mtp_depths = 1, .drop_mtp = true});
  EXPECT_TRUE(megatron_names(dropped, false, "mtp.").empty());
  EXPECT_EQ(dropped.promised_mtp_depths(), 1);
  // If the configuration counts depths, its count is used.
  const Binding none = bound(with(config, "num_nextn_predict_layers", "0"), {.mtp_depths = 1});
  EXPECT_FALSE(none.asks_for_mtp_depths());
  EXPECT_EQ(none.promised_mtp_depths(), 0);
}

TEST(Qwen3Next, DenseLayers) {
  Json config = with(Json::parse(kNext), "mlp_only_layers", "[2]");
  config["decoder_sparse_step"] = 2;
  config["num_hidden_layers"] = 4;
  const Binding binding = bound(config);
  std::string kinds;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    if (tensor.name.ends_with("mlp.linear_fc2.weight")) kinds += std::to_string(tensor.layer);
  });
  EXPECT_EQ(kinds, "02");
  EXPECT_EQ(binding.megatron_config("bf16")["moe_layer_freq"], Json({0, 1, 0, 1}));
  config["mlp_only_layers"] = {3};
  EXPECT_THROW(bound(config, {.mtp_depths = 1}), bridge::Error);
}

}  // namespace
}  // namespace mappings
