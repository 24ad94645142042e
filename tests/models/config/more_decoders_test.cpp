// config.json of OLMoE and MiniMax-M2, whose norms of queries and keys are as wide as all heads, of
// Ministral and of Seed-OSS, as transformers' classes read it.
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/config.h"
#include "models/model/tensor_id.h"
#include "tests/refusal.h"

namespace models {
namespace {

// more: ", ...".
ModelConfig model(const std::string& type, const std::string& more) {
  const std::string sizes = R"(", "hidden_size": 4096, "intermediate_size": 96,
    "num_attention_heads": 64, "num_hidden_layers": 3, "vocab_size": 128)";
  const std::string text = R"({"model_type": ")" + type + sizes + more + "}";
  return hf_model_config(Settings("config.json", bridge::parse_json(text)));
}

GroupedAttention attention_of(const std::string& type, const std::string& more, size_t layer = 0) {
  return std::get<GroupedAttention>(model(type, more).layers.at(layer).attention);
}

std::string refusal(const std::string& type, const std::string& more) {
  return bridge::refusal_of([&] { model(type, more); });
}

// The shapes of OlmoeAttention's and MiniMaxM2Attention's q_norm and k_norm.
TEST(WholeNorm, IsAsWideAsAllHeads) {
  const auto widths = [](const std::string& type) {
    std::string text;
    for_each_tensor(model(type, R"(, "num_key_value_heads": 8, "head_dim": 128)"),
                    [&](const TensorId& id, const bridge::Shape& shape) {
                      const bool is_norm = id.role == Role::kQNorm || id.role == Role::kKNorm;
                      if (is_norm && id.index == 2) text += std::to_string(shape.at(0)) + " ";
                    });
    return text;
  };
  EXPECT_EQ(widths("olmoe"), "8192 1024 ");
  EXPECT_EQ(widths("minimax_m2"), "8192 1024 ");
  EXPECT_EQ(widths("qwen3"), "128 128 ");
  EXPECT_EQ(refusal("olmoe", R"(, "clip_qkv": 8.0)"), "config.json: clip_qkv: not computed here");
}

TEST(MiniMaxM2, RotatesAPartOfAHead) {
  const auto channels = [](const std::string& more) {
    return attention_of("minimax_m2", more).rotary.channels;
  };
  EXPECT_EQ(channels(""), 128);
  EXPECT_EQ(channels(R"(, "rotary_dim": 64)"), 64);
  EXPECT_EQ(channels(R"(, "rotary_dim": 64, "partial_rotary_factor": 0.25)"), 32);
  EXPECT_EQ(channels(R"(, "rotary_dim": 64, "rope_parameters": {"partial_rotary_factor": 0.75})"),
            96);
  EXPECT_EQ(attention_of("minimax_m2", "").rotary.base, 5e6);
}

TEST(Ministral, LayersTakeTheWindowInTurns) {
  const std::string turns =
      R"(, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"])";
  EXPECT_EQ(attention_of("ministral", turns, 0).window, 4096);
  EXPECT_EQ(attention_of("ministral", turns, 1).window, 0);
  EXPECT_EQ(attention_of("ministral", R"(, "sliding_window": null)").window, 0);
  EXPECT_EQ(attention_of("ministral", "", 1).window, 4096);
  EXPECT_EQ(refusal("ministral", turns + R"(, "sliding_window": null)"),
            "config.json: layer_types: some slide, but there is no window");
  EXPECT_EQ(refusal("ministral", R"(, "layer_types": ["full_attention"])"),
            "config.json: layer_types: 1 of them, none for layer 1");
}

TEST(SeedOss, HeadsAndBiases) {
  EXPECT_EQ(attention_of("seed_oss", "").head_dim, 128);
  EXPECT_EQ(attention_of("seed_oss", R"(, "head_dim": null)").head_dim, 64);
  EXPECT_TRUE(attention_of("seed_oss", "").qkv_bias);
  EXPECT_FALSE(attention_of("seed_oss", "").output_bias);
  EXPECT_FALSE(attention_of("seed_oss", R"(, "attention_bias": false)").qkv_bias);
  EXPECT_TRUE(attention_of("seed_oss", R"(, "attention_out_bias": true)").output_bias);
}

}  // namespace
}  // namespace models
