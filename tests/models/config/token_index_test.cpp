// config.json of models with an index in latent attention, by the defaults of transformers' classes
// and what their modules make of it.
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
ModelConfig read(const std::string& type, const std::string& more) {
  return hf_model_config(Settings("config.json", bridge::parse_json(R"({
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 4,
    "vocab_size": 100, "model_type": ")" + type + "\"" + more + "}")));
}

LatentAttention attention_of(const std::string& type, const std::string& more, size_t layer = 1) {
  return std::get<LatentAttention>(read(type, more).layers.at(layer).attention);
}

std::string refusal(const std::string& type, const std::string& more) {
  return bridge::refusal_of([&] { read(type, more); });
}

TEST(DeepseekV32, DefaultsOfTheClass) {
  const LatentAttention attention = attention_of("deepseek_v32", "");
  EXPECT_EQ(attention.q_rank, 1536);
  EXPECT_EQ(attention.rotary.layout, RotaryLayout::kPairs);
  EXPECT_EQ(attention.index.heads, 64);
  EXPECT_EQ(attention.index.dim, 128);
  EXPECT_EQ(attention.index.chosen, 2048);
  EXPECT_EQ(attention.index.eps, 1e-6);
  EXPECT_EQ(attention.index.layout, RotaryLayout::kHalves);
  EXPECT_FALSE(attention.index.shared);
  const ModelConfig config = read("deepseek_v32", "");
  EXPECT_TRUE(std::holds_alternative<DenseMlp>(config.layers.at(2).mlp));
  EXPECT_EQ(std::get<MixtureOfExperts>(config.layers.at(3).mlp).router.groups, 8);
}

TEST(DeepseekV32, LayersWithExperts) {
  const ModelConfig config =
      read("deepseek_v32", R"(, "mlp_layer_types": ["dense", "sparse", "dense", "sparse"])");
  EXPECT_TRUE(std::holds_alternative<MixtureOfExperts>(config.layers.at(1).mlp));
  EXPECT_TRUE(std::holds_alternative<DenseMlp>(config.layers.at(2).mlp));
}

TEST(DeepseekV32, Refusals) {
  EXPECT_EQ(refusal("deepseek_v32", R"(, "q_lora_rank": null)"),
            "config.json: q_lora_rank: the index reads such queries");
  EXPECT_EQ(refusal("deepseek_v32", R"(, "rope_interleave": false)"),
            "config.json: rope_interleave: this class turns pairs whatever it says");
  EXPECT_EQ(refusal("deepseek_v32", R"(, "indexer_rope_interleave": true)"),
            "config.json: indexer_rope_interleave: this class does not read it");
  EXPECT_EQ(refusal("deepseek_v32", R"(, "index_head_dim": 32)"),
            "config.json: the size of an index head is 32, not in 64 to 16777216");
}

TEST(DeepseekV32, Names) {
  const ModelConfig config = read("deepseek_v32", R"(, "num_nextn_predict_layers": 1)");
  const HfNames names(architectures::kDeepseekV32, config, "model.");
  EXPECT_EQ(names.places({Role::kIndexKeyNormBias, Section::kLayer, 2}).at(0).name,
            "model.layers.2.self_attn.indexer.k_norm.bias");
  EXPECT_EQ(names.places({Role::kIndexWeights, Section::kMtp, 0}).at(0).name,
            "model.layers.4.self_attn.indexer.weights_proj.weight");
}

TEST(GlmMoeDsa, DefaultsOfTheClass) {
  const LatentAttention attention = attention_of("glm_moe_dsa", "");
  EXPECT_EQ(attention.q_rank, 2048);
  EXPECT_EQ(attention.nope_dim, 192);
  EXPECT_EQ(attention.v_dim, 256);
  EXPECT_EQ(attention.index.heads, 32);
  EXPECT_EQ(attention.index.layout, RotaryLayout::kPairs);
  EXPECT_EQ(read("glm_moe_dsa", "").norm.eps, 1e-5);
  EXPECT_EQ(refusal("glm_moe_dsa", R"(, "indexer_rope_interleave": false)"),
            "config.json: indexer_rope_interleave: this class does not read it");
}

// The rule of GlmMoeDsaConfig: full if max(layer - offset + 1, 0) is a multiple of freq.
TEST(GlmMoeDsa, LayersThatShareAnIndex) {
  const auto shared = [](const std::string& more) {
    std::string layers;
    for (size_t layer = 0; layer < 4; ++layer) {
      layers += attention_of("glm_moe_dsa", more, layer).index.shared ? 's' : 'f';
    }
    return layers;
  };
  EXPECT_EQ(shared(""), "ffff");
  EXPECT_EQ(shared(R"(, "index_topk_freq": 2)"), "ffsf");
  EXPECT_EQ(shared(R"(, "index_topk_freq": 3, "index_skip_topk_offset": 1)"), "fssf");
  EXPECT_EQ(shared(R"(, "indexer_types": ["full", "shared", "full", "shared"])"), "fsfs");
  const TokenIndex index =
      attention_of("glm_moe_dsa", R"(, "index_topk_freq": 2, "index_topk": 7)", 2).index;
  EXPECT_EQ(index.heads, 0);
  EXPECT_EQ(index.chosen, 7);
  EXPECT_EQ(refusal("glm_moe_dsa", R"(, "index_topk_pattern": "FFSF")"),
            "config.json: index_topk_pattern: indexer_types is what is read here");
  EXPECT_EQ(refusal("glm_moe_dsa", R"(, "indexer_types": ["shared", "full", "full", "full"])"),
            "config.json: layer 0 shares an index, and no layer before it has one");
}

}  // namespace
}  // namespace models
