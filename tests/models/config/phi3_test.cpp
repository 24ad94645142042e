// Phi-3's config.json, by the defaults of transformers' Phi3Config and what Phi3Attention and
// Phi3MLP make of their fused tensors.
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

// The released Phi-4's sizes, without what the class says itself. more: ", ...".
ModelConfig phi3(const std::string& more) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 5120,
    "intermediate_size": 17920, "num_attention_heads": 40, "num_hidden_layers": 2,
    "vocab_size": 100352)" + more + "}")));
}

GroupedAttention attention_of(const std::string& more) {
  return std::get<GroupedAttention>(phi3(more).layers.at(1).attention);
}

std::string refusal(const std::string& more) {
  return bridge::refusal_of([&] { phi3(more); }, bridge::Code::kUnsupported);
}

TEST(Phi3, AsReleased) {
  const ModelConfig config = phi3(
      R"(, "num_key_value_heads": 10, "rms_norm_eps": 1e-05, "rope_scaling": null,
      "rope_theta": 250000, "sliding_window": null, "tie_word_embeddings": false)");
  const auto& attention = std::get<GroupedAttention>(config.layers.at(0).attention);
  EXPECT_EQ(attention.kv_heads, 10);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_EQ(attention.window, 0);
  EXPECT_EQ(attention.rotary.channels, 128);
  EXPECT_EQ(attention.rotary.base, 250000);
  EXPECT_FALSE(attention.qkv_bias || attention.output_bias || attention.qk_norm);
  EXPECT_EQ(std::get<DenseMlp>(config.layers.at(0).mlp).width, 17920);
}

TEST(Phi3, DefaultsOfTheClass) {
  const GroupedAttention attention = attention_of("");
  EXPECT_EQ(attention.kv_heads, 40);
  EXPECT_EQ(attention.window, 0);
  EXPECT_EQ(attention.rotary.base, 10000);
  EXPECT_EQ(phi3("").norm.eps, 1e-5);
  EXPECT_FALSE(phi3("").tied);
}

TEST(Phi3, PartOfAHeadTurns) {
  EXPECT_EQ(attention_of(R"(, "partial_rotary_factor": 0.75)").rotary.channels, 96);
  EXPECT_EQ(attention_of(R"(, "partial_rotary_factor": 0.75,
      "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5})")
                .rotary.channels,
            64);
  EXPECT_EQ(attention_of(R"(, "sliding_window": 2047)").window, 2047);
}

TEST(Phi3, RefusesLongRope) {
  for (const char* type : {"longrope", "su", "yarn"}) {
    const std::string rope = std::string(R"(, "rope_scaling": {"type": ")") + type + "\"}";
    EXPECT_NE(refusal(rope).find("LongRoPE"), std::string::npos) << type;
  }
}

TEST(Phi3, RowsOfFusedTensors) {
  const ModelConfig config = phi3(R"(, "num_key_value_heads": 10)");
  const HfNames names(architectures::kPhi3, config, "model.");
  const auto place = [&](Role role) { return names.places({role, Section::kLayer, 1}).at(0); };
  EXPECT_EQ(place(Role::kQ).name, "model.layers.1.self_attn.qkv_proj.weight");
  EXPECT_EQ(place(Role::kV).name, "model.layers.1.self_attn.qkv_proj.weight");
  EXPECT_EQ(place(Role::kQ).rows.count, 5120);
  EXPECT_EQ(place(Role::kK).rows.first, 5120);
  EXPECT_EQ(place(Role::kV).rows.first, 6400);
  EXPECT_EQ(place(Role::kV).rows.total, 7680);
  EXPECT_EQ(place(Role::kUp).name, "model.layers.1.mlp.gate_up_proj.weight");
  EXPECT_EQ(place(Role::kUp).rows.first, 17920);
  EXPECT_EQ(place(Role::kDown).rows.count, 0);
}

}  // namespace
}  // namespace models
