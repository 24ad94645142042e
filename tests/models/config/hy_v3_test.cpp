// Hy3's config.json, by the defaults of transformers' HYV3Config; the names of its release and of
// transformers' modules.
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/names.h"
#include "tests/refusal.h"

namespace models {
namespace {

// more: ", ...".
ModelConfig hy(const std::string& more) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "model_type": "hy_v3", "architectures": ["HYV3ForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 13312, "num_attention_heads": 64, "num_hidden_layers": 3,
    "vocab_size": 120832)" + more + "}")));
}

std::string kinds(const std::string& more) {
  std::string text;
  for (const LayerConfig& layer : hy(more).layers) {
    text += std::holds_alternative<DenseMlp>(layer.mlp) ? "d" : "m";
  }
  return text;
}

std::string refusal(const std::string& more, bridge::Code code) {
  return bridge::refusal_of([&] { hy(more); }, code);
}

TEST(HyV3, DefaultsOfTheClass) {
  const ModelConfig config = hy("");
  const GroupedAttention& attention = std::get<GroupedAttention>(config.layers.at(1).attention);
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_EQ(attention.rotary.base, 11158840);
  EXPECT_TRUE(attention.qk_norm);
  const MixtureOfExperts& mlp = std::get<MixtureOfExperts>(config.layers.at(1).mlp);
  EXPECT_EQ(mlp.router.experts, 192);
  EXPECT_EQ(mlp.router.factor, 2.826);
  EXPECT_TRUE(mlp.router.selection_bias && mlp.router.normalized);
  EXPECT_EQ(mlp.shared_width, 1536);
}

TEST(HyV3, WhichLayersAreDense) {
  EXPECT_EQ(kinds(""), "dmm");
  EXPECT_EQ(kinds(R"(, "first_k_dense_replace": 2)"), "ddm");
  const std::string list = R"(, "mlp_layer_types": ["dense", "sparse", "dense"])";
  EXPECT_EQ(kinds(list), "dmd");
  EXPECT_EQ(kinds(list + R"(, "first_k_dense_replace": 2)"), "dmd");
  EXPECT_EQ(refusal(R"(, "mlp_layer_types": ["dense"])", bridge::Code::kBadInput),
            "config.json: mlp_layer_types: 1 of them, none for layer 1");
  EXPECT_EQ(refusal(R"(, "mlp_layer_types": ["hashed"])", bridge::Code::kUnsupported),
            "config.json: mlp_layer_types: 'hashed' is not computed here");
  EXPECT_EQ(refusal(R"(, "mlp_bias": true)", bridge::Code::kUnsupported),
            "config.json: mlp_bias: experts with biases are not computed here");
}

TEST(HyV3, Names) {
  const ModelConfig config = hy(R"(, "num_nextn_predict_layers": 1)");
  const HfNames names(architectures::kHyV3, config, "model.");
  const auto router = names.places({Role::kRouter, Section::kLayer, 1});
  ASSERT_EQ(router.size(), 2u);
  EXPECT_EQ(router.at(0).name, "model.layers.1.mlp.router.gate.weight");
  EXPECT_EQ(router.at(1).name, "model.layers.1.mlp.gate.weight");
  EXPECT_EQ(names.places({Role::kRouterBias, Section::kMtp, 0}).at(0).name,
            "model.layers.3.mlp.expert_bias");
  EXPECT_EQ(names.places({Role::kMtpFinalNorm, Section::kMtp, 0}).at(0).name,
            "model.layers.3.final_layernorm.weight");
  EXPECT_FALSE(names.is_unused("model.layers.3.embed_tokens.weight"));
}

}  // namespace
}  // namespace models
