// gpt-oss's config.json, by the defaults of transformers' GptOssConfig, and where GptOssExperts has
// the experts.
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/names.h"

namespace models {
namespace {

// The released 20b's sizes, without what the class says itself. more: ", ...".
ModelConfig gpt_oss(const std::string& more) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "hidden_size": 2880,
    "intermediate_size": 1440, "num_attention_heads": 64, "num_hidden_layers": 2,
    "num_local_experts": 32, "vocab_size": 201088)" + more + "}")));
}

GroupedAttention attention_of(const ModelConfig& config, size_t layer) {
  return std::get<GroupedAttention>(config.layers.at(layer).attention);
}

TEST(GptOss, DefaultsOfTheClass) {
  const ModelConfig config = gpt_oss("");
  const GroupedAttention attention = attention_of(config, 0);
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.head_dim, 64);
  EXPECT_TRUE(attention.sinks && attention.qkv_bias && attention.output_bias);
  EXPECT_EQ(attention.window, 128);
  EXPECT_EQ(attention_of(config, 1).window, 0);
  EXPECT_EQ(attention.rotary.base, 150000);
  EXPECT_EQ(attention.rotary.scaling, RotaryScaling::kYarn);
  EXPECT_EQ(attention.rotary.factor, 32);
  EXPECT_EQ(attention.rotary.original_positions, 4096);
  EXPECT_FALSE(attention.rotary.round_range);
  EXPECT_NEAR(attention.rotary.magnitude, 1.3465735902799727, 1e-12);  // 0.1 ln 32 + 1
  const auto& mlp = std::get<MixtureOfExperts>(config.layers.at(0).mlp);
  EXPECT_TRUE(mlp.bias && mlp.router.logit_bias && mlp.router.normalized);
  EXPECT_FALSE(mlp.router.selection_bias);
  EXPECT_EQ(mlp.router.chosen, 4);
  EXPECT_EQ(mlp.limit, 7);
  EXPECT_EQ(mlp.gain, 1.702);
  EXPECT_EQ(mlp.offset, 1);
  EXPECT_EQ(config.norm.eps, 1e-5);
}

TEST(GptOss, WindowsByLayer) {
  const ModelConfig config =
      gpt_oss(R"(, "sliding_window": 5, "layer_types": ["full_attention", "sliding_attention"])");
  EXPECT_EQ(attention_of(config, 0).window, 0);
  EXPECT_EQ(attention_of(config, 1).window, 5);
  for (const char* bad : {R"(, "layer_types": ["full_attention"])", R"(, "sliding_window": null)",
                          R"(, "layer_types": ["full_attention", "chunked_attention"])"}) {
    EXPECT_THROW(gpt_oss(bad), bridge::Error) << bad;
  }
}

TEST(GptOss, ExpertsAreTransposedAndInTurns) {
  const ModelConfig config = gpt_oss("");
  const HfNames names(architectures::kGptOss, config, "model.");
  const auto place = [&](Role role) { return names.places({role, Section::kLayer, 1, 3}).at(0); };
  const HfPlace up = place(Role::kExpertUp);
  EXPECT_EQ(up.name, "model.layers.1.mlp.experts.gate_up_proj");
  EXPECT_TRUE(up.expert_axis && up.transposed);
  EXPECT_EQ(up.rows.count, 1440);
  EXPECT_EQ(up.rows.first, 1);
  EXPECT_EQ(up.rows.stride, 2);
  EXPECT_EQ(place(Role::kExpertGate).rows.first, 0);
  EXPECT_TRUE(place(Role::kExpertDown).transposed);
  // MXFP4 has the same rows, [out, in].
  const HfPlace blocks = names.places({Role::kExpertUp, Section::kLayer, 1, 3}).at(1);
  EXPECT_EQ(blocks.name, "model.layers.1.mlp.experts.gate_up_proj_blocks");
  EXPECT_TRUE(blocks.expert_axis && !blocks.transposed);
  EXPECT_EQ(blocks.rows.first, 1);
  EXPECT_EQ(blocks.rows.stride, 2);
  EXPECT_EQ(place(Role::kExpertGateBias).name, "model.layers.1.mlp.experts.gate_up_proj_bias");
  EXPECT_FALSE(place(Role::kExpertGateBias).transposed);
  EXPECT_EQ(place(Role::kExpertDownBias).name, "model.layers.1.mlp.experts.down_proj_bias");
  EXPECT_EQ(names.places({Role::kSink, Section::kLayer, 1}).at(0).name,
            "model.layers.1.self_attn.sinks");
  EXPECT_EQ(names.places({Role::kRouterLogitBias, Section::kLayer, 1}).at(0).name,
            "model.layers.1.mlp.router.bias");
}

}  // namespace
}  // namespace models
