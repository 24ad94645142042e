// Keys of a HybridModel, as real megatron-core 0.19.2 spells them for models of attention and MLPs.
#include "bridge/convert/match/hybrid_keys.h"

#include <gtest/gtest.h>

#include <string>

#include "bridge/convert/match/key_naming.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

TEST(HybridKeys, AttentionAndMlpAreLayersOfTheirOwn) {
  const std::pair<const char*, const char*> keys[] = {
      {"decoder.layers.0.self_attention.linear_qkv.weight",
       "decoder.layers.0.self_attention.linear_qkv.weight"},
      {"decoder.layers.0.mlp.linear_fc1.weight", "decoder.layers.1.mlp.linear_fc1.weight"},
      {"decoder.layers.11.self_attention.q_layernorm._extra_state",
       "decoder.layers.22.self_attention.q_layernorm._extra_state"},
      {"decoder.layers.11.pre_mlp_layernorm.weight", "decoder.layers.23.pre_mlp_layernorm.weight"},
      {"decoder.layers.5.mlp.experts.experts.linear_fc2.weight",
       "decoder.layers.11.mlp.experts.experts.linear_fc2.weight"},
      {"decoder.final_layernorm.weight", "decoder.final_norm.weight"},
      {"decoder.final_layernorm._extra_state", "decoder.final_norm._extra_state"},
      {"embedding.word_embeddings.weight", "embedding.word_embeddings.weight"},
      {"output_layer.weight", "output_layer.weight"},
  };
  for (const auto& [gpt, hybrid] : keys) EXPECT_EQ(hybrid_key(gpt), hybrid) << gpt;
}

TEST(HybridKeys, NormsOfResultsAreRefused) {
  for (const char* norm :
       {"self_attention.post_self_attn_layernorm.weight", "mlp.post_mlp_layernorm.weight",
        "self_attention.linear_proj.post_layernorm.weight",
        "mlp.linear_fc2.post_layernorm._extra_state"}) {
    const std::string key = std::string("decoder.layers.3.") + norm;
    expect_error(Code::kUnsupported, key, [&] { hybrid_key(key); });
  }
}

TEST(HybridKeys, AreWrittenAfterThePrefixAndWithAnAxisOfExperts) {
  mappings::Family family;
  family.megatron = "decoder.layers.{l}";
  mappings::LogicalTensor tensor;
  tensor.name = "decoder.layers.3.mlp.experts.experts.2.linear_fc1.weight";
  tensor.family = &family;
  tensor.layer = 3;
  tensor.layer_count = 4;
  tensor.expert = 2;
  tensor.expert_count = 8;
  const WrittenKey written =
      written_key(tensor, tensor.name, {.per_layer = true, .hybrid = true, .prefix = "p."});
  EXPECT_EQ(written.key, "p.decoder.layers.7.mlp.experts.experts.linear_fc1.weight");
  ASSERT_EQ(written.axes.count, 1);
  EXPECT_EQ(written.axes.index[0], 2);
}

}  // namespace
}  // namespace bridge
