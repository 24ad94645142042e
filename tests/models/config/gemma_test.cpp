// Gemma 2 and 3 in both views, by the defaults of transformers' classes and what Megatron-Bridge's
// modules make of their providers' fields.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/config.h"
#include "models/megatron/config.h"
#include "tests/refusal.h"

namespace models {
namespace {

ModelConfig hf(const std::string& type, const std::string& more) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 6,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "model_type": ")" +
                                                                    type + "\"" + more + "}")));
}

constexpr const char* kProvider = R"(model:
  hidden_size: 64
  vocab_size: 100
  num_layers: 6
  num_attention_heads: 4
  num_query_groups: 2
  kv_channels: 16
  ffn_hidden_size: 96
  normalization: RMSNorm
  layernorm_zero_centered_gamma: true
  layernorm_epsilon: 1.0e-06
  gated_linear_unit: true
  activation_func: {_target_: megatron.core.activations.fast_gelu}
  position_embedding_type: rope
  add_bias_linear: false
)";

ModelConfig megatron(const std::string& more) {
  return megatron_model_config(megatron_settings(kProvider + more), /*post_norms=*/true);
}

const GroupedAttention& attention_of(const ModelConfig& config, size_t layer) {
  return std::get<GroupedAttention>(config.layers.at(layer).attention);
}

TEST(Gemma, Gemma2IsTheSameInBothViews) {
  const ModelConfig config = hf("gemma2", R"(, "query_pre_attn_scalar": 24, "sliding_window": 5)");
  EXPECT_EQ(attention_of(config, 0).window, 5);
  EXPECT_EQ(attention_of(config, 1).window, 0);
  EXPECT_EQ(attention_of(config, 0).scale, 1 / std::sqrt(24.0));
  EXPECT_EQ(attention_of(config, 0).cap, 50);
  EXPECT_EQ(config.logit_cap, 30);
  EXPECT_EQ(config.embedding_scale, 8);
  EXPECT_TRUE(config.tied && config.post_norms);
  EXPECT_EQ(describe(megatron("  query_pre_attn_scalar: 24\n  window_size: [4, 0]\n"
                              "  attn_logit_softcapping: 50.0\n  final_logit_softcapping: 30.0\n")),
            describe(config));
  EXPECT_EQ(attention_of(hf("gemma2", R"(, "query_pre_attn_scalar": 16)"), 0).scale, 0);
  EXPECT_EQ(attention_of(hf("gemma2", R"(, "attn_logit_softcapping": null)"), 0).cap, 0);
}

TEST(Gemma, Gemma3IsTheSameInBothViews) {
  const std::string released = R"(, "query_pre_attn_scalar": 20, "sliding_window": 5,
    "sliding_window_pattern": 3, "rope_theta": 500000.0, "rope_local_base_freq": 20000.0,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0})";
  const ModelConfig config = hf("gemma3_text", released);
  for (const size_t layer : {0, 1, 2, 3, 4, 5}) {
    const GroupedAttention& attention = attention_of(config, layer);
    const bool slides = layer % 3 != 2;
    EXPECT_EQ(attention.window, slides ? 5 : 0) << layer;
    EXPECT_EQ(attention.rotary.base, slides ? 20000 : 500000) << layer;
    EXPECT_EQ(attention.rotary.factor, slides ? 1 : 8) << layer;
    EXPECT_TRUE(attention.qk_norm);
  }
  EXPECT_EQ(config.logit_cap, 0);
  EXPECT_EQ(describe(megatron("  softmax_scale: 0.22360679774997896\n  window_size: 5\n"
                              "  interleaved_attn_pattern: [2, 1]\n  qk_layernorm: true\n"
                              "  rotary_base: [20000.0, 500000.0]\n  rope_scaling_factor: 8.0\n")),
            describe(config));
  const std::string sections = R"(, "query_pre_attn_scalar": 20, "sliding_window": 5,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention",
                    "sliding_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
      "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0},
      "full_attention": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 8.0}})";
  EXPECT_EQ(describe(hf("gemma3_text", sections)), describe(config));
}

std::string refusal(const std::string& more) {
  return bridge::refusal_of([&] { megatron(more); });
}

TEST(Gemma, WhatIsNotComputedIsRefused) {
  EXPECT_EQ(refusal("  interleaved_attn_pattern: [5, 1]\n  rotary_base: 10000\n"),
            "run_config.yaml: model: rotary_base: not a list");
  EXPECT_EQ(refusal("  interleaved_attn_pattern: [5]\n  rotary_base: [1.0e4, 1.0e6]\n"),
            "run_config.yaml: model: interleaved_attn_pattern: not two numbers of layers");
  EXPECT_NE(refusal("  _target_: megatron.bridge.models.gemma.gemma4_provider.Gemma4Provider\n")
                .find("Gemma 2 and Gemma 3 are computed here"),
            std::string::npos);
}

}  // namespace
}  // namespace models
