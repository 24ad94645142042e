// Tests the tables of models with sparse latent attention: the keys that Megatron-Core's
// specification of such layers has, and which layers have an index.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "bridge/io/base/error.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/small_models.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

// The parameters of AbsorbedMLASelfAttention and DSAIndexer in core 0.19.2, whose specification has
// no fused norms.
const std::set<std::string> kAttention = {"linear_q_down_proj.weight", "q_layernorm.weight",
                                          "linear_q_up_proj.weight",   "linear_kv_down_proj.weight",
                                          "kv_layernorm.weight",       "linear_kv_up_proj.weight",
                                          "linear_proj.weight"};
const std::set<std::string> kIndex = {
    "core_attention.indexer.linear_wq_b.weight", "core_attention.indexer.linear_wk.weight",
    "core_attention.indexer.k_norm.weight", "core_attention.indexer.k_norm.bias",
    "core_attention.indexer.linear_weights_proj.weight"};

std::set<std::string> attention_of(const Json& config, const std::string& layer) {
  return megatron_names(bound(config), false, layer + ".self_attention.");
}

std::set<std::string> with_index() {
  std::set<std::string> all = kAttention;
  all.insert(kIndex.begin(), kIndex.end());
  return all;
}

TEST(SparseLatentTables, EveryLayerOfDeepSeekV32HasAnIndex) {
  const Json config = small(kDeepSeekV32);
  EXPECT_EQ(attention_of(config, "decoder.layers.0"), with_index());
  EXPECT_EQ(attention_of(config, "decoder.layers.3"), with_index());
  EXPECT_EQ(attention_of(config, "mtp.layers.0.transformer_layer"), with_index());
  const Json provider = bound(config).megatron_config("bf16");
  EXPECT_EQ(provider["experimental_attention_variant"], "dsa");
  EXPECT_EQ(provider["dsa_indexer_n_heads"], 64);
  EXPECT_EQ(provider["dsa_indexer_head_dim"], 128);
  EXPECT_EQ(provider["dsa_indexer_topk"], 2048);
  EXPECT_EQ(provider["dsa_indexer_rope_interleaved"], false);
  EXPECT_EQ(provider["dsa_indexer_k_norm_epsilon"], 1e-6);
}

// What transformers 5 writes for each layer counts before first_k_dense_replace.
TEST(SparseLatentTables, DenseLayersByTheirTypes) {
  Json config =
      with(small(kDeepSeekV32), "mlp_layer_types", R"(["dense", "sparse", "sparse", "sparse"])");
  EXPECT_EQ(bound(config).megatron_config("bf16")["moe_layer_freq"], Json({0, 1, 1, 1}));
  config.erase("mlp_layer_types");
  EXPECT_EQ(bound(config).megatron_config("bf16")["moe_layer_freq"], Json({0, 0, 0, 1}));
}

// transformers' indexer_types, or the two numbers of GLM-5.2, which are Megatron-Core's too.
TEST(SparseLatentTables, LayersOfGlmShareAnIndex) {
  Json by_numbers = small(kGlm5);
  EXPECT_EQ(attention_of(by_numbers, "decoder.layers.1"), with_index());
  by_numbers["index_topk_freq"] = 2;
  by_numbers["index_skip_topk_offset"] = 1;
  Json by_types = small(kGlm5);
  by_types["indexer_types"] = {"full", "shared", "full", "shared"};
  for (const Json& config : {by_numbers, by_types}) {
    EXPECT_EQ(attention_of(config, "decoder.layers.0"), with_index());
    EXPECT_EQ(attention_of(config, "decoder.layers.1"), kAttention);
    EXPECT_EQ(attention_of(config, "decoder.layers.2"), with_index());
    EXPECT_EQ(attention_of(config, "decoder.layers.3"), kAttention);
    EXPECT_EQ(attention_of(config, "mtp.layers.0.transformer_layer"), with_index());
    const Json provider = bound(config).megatron_config("bf16");
    EXPECT_EQ(provider["dsa_indexer_topk_freq"], 2);
    EXPECT_EQ(provider["dsa_indexer_skip_topk_offset"], 1);
  }
}

std::string refusal(const Json& config) {
  return bridge::refusal_of([&] { bound(config); }, bridge::Code::kUnsupported);
}

TEST(SparseLatentTables, WhatMegatronCannotShare) {
  Json config = small(kGlm5);
  config["num_hidden_layers"] = 5;
  config["indexer_types"] = {"full", "shared", "full", "full", "shared"};
  EXPECT_NE(refusal(config).find("an index in every layer up to one, and then in every n-th"),
            std::string::npos)
      << refusal(config);
  config["indexer_types"] = {"full", "shared", "shared", "full", "shared"};
  EXPECT_EQ(refusal(config), "accepted");
  config["num_nextn_predict_layers"] = 2;
  EXPECT_NE(refusal(config).find("2 MTP layers are not supported"), std::string::npos)
      << refusal(config);
}

}  // namespace
}  // namespace mappings
