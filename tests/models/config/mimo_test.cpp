// MiMo's config.json, by its own MiMoConfig, which adds num_nextn_predict_layers to Qwen2Config.
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
ModelConfig mimo(const std::string& more, bool drop_mtp = false) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "model_type": "mimo", "architectures": ["MiMoForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "num_hidden_layers": 2, "rms_norm_eps": 1e-05, "rope_theta": 640000,
    "vocab_size": 151680)" + more + "}")),
                         drop_mtp);
}

constexpr char kDepth[] = R"(, "num_nextn_predict_layers": 1)";

TEST(MiMo, AsReleased) {
  const ModelConfig config = mimo(kDepth);
  const auto& attention = std::get<GroupedAttention>(config.mtp.at(0).attention);
  EXPECT_TRUE(attention.qkv_bias);
  EXPECT_FALSE(attention.output_bias || attention.qk_norm);
  EXPECT_EQ(attention.window, 0);
  EXPECT_EQ(attention.rotary.base, 640000);
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_EQ(mimo(kDepth, /*drop_mtp=*/true).mtp.size(), 0U);
  EXPECT_EQ(mimo("").mtp.size(), 0U);
}

TEST(MiMo, RefusesAWindow) {
  bridge::expect_error(bridge::Code::kUnsupported, "use_sliding_window",
                       [&] { mimo(R"(, "use_sliding_window": true)"); });
}

TEST(MiMo, Depths) {
  const ModelConfig config = mimo(kDepth);
  const HfNames names(architectures::kMiMo, config, "model.");
  const auto place = [&](Role role) { return names.places({role, Section::kMtp, 0}).at(0); };
  EXPECT_EQ(place(Role::kMtpEmbeddingNorm).name, "model.mtp_layers.0.token_layernorm.weight");
  EXPECT_EQ(place(Role::kMtpHiddenNorm).name, "model.mtp_layers.0.hidden_layernorm.weight");
  EXPECT_EQ(place(Role::kMtpFinalNorm).name, "model.mtp_layers.0.final_layernorm.weight");
  EXPECT_EQ(place(Role::kQBias).name, "model.mtp_layers.0.self_attn.q_proj.bias");
  // The columns of the embedding come second.
  const HfPlace projection = place(Role::kMtpProjection);
  EXPECT_EQ(projection.name, "model.mtp_layers.0.input_proj.weight");
  EXPECT_EQ(projection.columns.first, 4096);
  EXPECT_EQ(projection.columns.count, 8192);
  EXPECT_EQ(projection.columns.total, 8192);
  EXPECT_TRUE(names.is_mtp("model.mtp_layers.0.mlp.up_proj.weight"));
  EXPECT_FALSE(names.is_mtp("model.layers.0.mlp.up_proj.weight"));
}

}  // namespace
}  // namespace models
