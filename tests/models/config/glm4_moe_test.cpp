// GLM-4.5's config.json, by the defaults of transformers' Glm4MoeConfig and what Glm4MoeModel makes
// of it.
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/names.h"

namespace models {
namespace {

// more: ", ...".
ModelConfig glm(const std::string& more, bool drop_mtp = false) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "model_type": "glm4_moe", "architectures": ["Glm4MoeForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 10944, "num_attention_heads": 96, "num_hidden_layers": 3, "head_dim": 128,
    "vocab_size": 151552)" + more + "}")),
                         drop_mtp);
}

GroupedAttention attention_of(const std::string& more) {
  return std::get<GroupedAttention>(glm(more).layers.at(1).attention);
}

TEST(Glm4Moe, DefaultsOfTheClass) {
  const ModelConfig config = glm("");
  const GroupedAttention attention = attention_of("");
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.rotary.channels, 64);
  EXPECT_EQ(attention.rotary.layout, RotaryLayout::kHalves);
  EXPECT_FALSE(attention.qkv_bias || attention.output_bias || attention.qk_norm);
  EXPECT_EQ(std::get<DenseMlp>(config.layers.at(0).mlp).width, 10944);
  const MixtureOfExperts& mlp = std::get<MixtureOfExperts>(config.layers.at(1).mlp);
  EXPECT_EQ(mlp.router.score, RouterScore::kSigmoid);
  EXPECT_EQ(mlp.router.experts, 128);
  EXPECT_EQ(mlp.router.ranked_by, 0);
  EXPECT_TRUE(mlp.router.selection_bias && mlp.router.normalized);
  EXPECT_EQ(mlp.shared_width, 1408);
  EXPECT_EQ(config.norm.eps, 1e-5);
}

TEST(Glm4Moe, BiasesAreNeverOfTheOutput) {
  const GroupedAttention attention =
      attention_of(R"(, "attention_bias": true, "use_qk_norm": true)");
  EXPECT_TRUE(attention.qkv_bias && attention.qk_norm);
  EXPECT_FALSE(attention.output_bias);
}

TEST(Glm4Moe, ThePartThatTurns) {
  EXPECT_EQ(attention_of(R"(, "partial_rotary_factor": 0.25)").rotary.channels, 32);
  // transformers 5 writes it here.
  EXPECT_EQ(attention_of(R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000,
                             "partial_rotary_factor": 0.125})")
                .rotary.channels,
            16);
}

TEST(Glm4Moe, DepthsHaveExpertsAndAreFurtherLayers) {
  const std::string one = R"(, "num_nextn_predict_layers": 1)";
  const ModelConfig config = glm(one);
  ASSERT_EQ(config.mtp.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<MixtureOfExperts>(config.mtp.at(0).mlp));
  EXPECT_TRUE(glm(one, /*drop_mtp=*/true).mtp.empty());
  const HfNames names(architectures::kGlm4Moe, config, "model.");
  EXPECT_EQ(names.places({Role::kMtpProjection, Section::kMtp, 0}).at(0).name,
            "model.layers.3.eh_proj.weight");
  EXPECT_EQ(names.places({Role::kRouterBias, Section::kMtp, 0}).at(0).name,
            "model.layers.3.mlp.gate.e_score_correction_bias");
  EXPECT_TRUE(names.is_unused("model.layers.3.shared_head.head.weight"));
}

}  // namespace
}  // namespace models
