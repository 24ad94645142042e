// Mistral's config.json, by the defaults of transformers' MistralConfig and what MistralModel makes
// of them.
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

// The released v0.3's sizes, without what the class says itself. more: ", ...".
ModelConfig mistral(const std::string& more) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 2,
    "vocab_size": 32768)" + more + "}")));
}

GroupedAttention attention_of(const std::string& more) {
  return std::get<GroupedAttention>(mistral(more).layers.at(1).attention);
}

std::string refusal(const std::string& more, bridge::Code code) {
  return bridge::refusal_of([&] { mistral(more); }, code);
}

TEST(Mistral, AsReleased) {
  const ModelConfig config = mistral(
      R"(, "attention_dropout": 0.0, "hidden_act": "silu", "max_position_embeddings": 32768,
      "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
      "sliding_window": null, "tie_word_embeddings": false)");
  const GroupedAttention& attention = std::get<GroupedAttention>(config.layers.at(0).attention);
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_EQ(attention.window, 0);
  EXPECT_EQ(attention.rotary.channels, 128);
  EXPECT_EQ(attention.rotary.base, 1e6);
  EXPECT_FALSE(attention.qkv_bias || attention.output_bias || attention.qk_norm);
  EXPECT_EQ(std::get<DenseMlp>(config.layers.at(0).mlp).width, 14336);
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_EQ(config.norm.kind, NormKind::kCastThenScale);
}

TEST(Mistral, DefaultsOfTheClass) {
  const GroupedAttention attention = attention_of("");
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.window, 4096);
  EXPECT_EQ(attention.rotary.base, 10000);
  EXPECT_EQ(mistral("").norm.eps, 1e-6);
  EXPECT_FALSE(mistral("").tied);
}

TEST(Mistral, SettingsThatMayBeNull) {
  EXPECT_EQ(attention_of(R"(, "num_key_value_heads": null)").kv_heads, 32);
  EXPECT_EQ(attention_of(R"(, "head_dim": null)").head_dim, 128);
  EXPECT_EQ(attention_of(R"(, "head_dim": 160)").head_dim, 160);
}

TEST(Mistral, HasNoBiasesWhateverItSays) {
  const GroupedAttention attention = attention_of(R"(, "attention_bias": true)");
  EXPECT_FALSE(attention.qkv_bias || attention.output_bias);
}

TEST(Mistral, Windows) {
  EXPECT_EQ(attention_of(R"(, "sliding_window": 5)").window, 5);
  EXPECT_EQ(refusal(R"(, "sliding_window": 0)", bridge::Code::kBadInput),
            "config.json: sliding_window: not positive");
  const std::string two_kinds = R"(, "layer_types": ["sliding_attention", "full_attention"])";
  EXPECT_EQ(refusal(two_kinds, bridge::Code::kUnsupported),
            "config.json: layer_types: Mistral's layers are alike, as sliding_window says");
  const std::string full = R"(, "layer_types": ["full_attention", "full_attention"])";
  EXPECT_NE(refusal(full, bridge::Code::kUnsupported), "accepted");
  EXPECT_EQ(attention_of(full + R"(, "sliding_window": null)").window, 0);
}

TEST(Mistral, Names) {
  const ModelConfig config = mistral("");
  const HfNames whole(architectures::kMistral, config, "model.");
  const HfNames bare(architectures::kMistral, config, "");
  const TensorId q{Role::kQ, Section::kLayer, 1};
  EXPECT_EQ(whole.places(q).at(0).name, "model.layers.1.self_attn.q_proj.weight");
  EXPECT_EQ(bare.places(q).at(0).name, "layers.1.self_attn.q_proj.weight");
  EXPECT_EQ(whole.places({Role::kOutput}).at(0).name, "lm_head.weight");
}

}  // namespace
}  // namespace models
