// Tests what a configuration means by an absent key or by null, and that settings that nothing
// computes are refused.
#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/config.h"
#include "models/megatron/config.h"
#include "tests/refusal.h"

namespace models {
namespace {

ModelConfig hf(const std::string& json) {
  return hf_model_config(Settings("config.json", bridge::parse_json(json)));
}

std::string sized(const std::string& type, const std::string& more) {
  return R"({"model_type": ")" + type + R"(", "hidden_size": 64, "vocab_size": 10,
    "num_hidden_layers": 2, "num_attention_heads": 64, "intermediate_size": 12)" +
         more + "}";
}

const GroupedAttention& grouped(const ModelConfig& config, size_t layer = 1) {
  return std::get<GroupedAttention>(config.layers.at(layer).attention);
}

// The defaults come from configuration_qwen2.py, configuration_qwen3_moe.py,
// configuration_mixtral.py.
TEST(HfConfig, AbsentIsTheClassesOwnAndNullIsNone) {
  const auto heads = [](const std::string& type, const std::string& more) {
    return grouped(hf(sized(type, more))).kv_heads;
  };
  const std::string null = R"(, "head_dim": 2, "num_key_value_heads": null)";
  EXPECT_EQ(heads("llama", R"(, "head_dim": 2)"), 64);
  EXPECT_EQ(heads("qwen2", R"(, "head_dim": 2)"), 32);
  EXPECT_EQ(heads("qwen3", R"(, "head_dim": 2)"), 32);
  EXPECT_EQ(heads("qwen2", null), 64);
  const std::string experts = R"(, "num_local_experts": 2, "num_experts_per_tok": 1,
    "moe_intermediate_size": 4, "head_dim": 2)";
  EXPECT_EQ(heads("mixtral", experts), 8);
  EXPECT_EQ(heads("qwen3_moe", experts), 4);

  const auto window = [](const std::string& more, size_t layer = 1) {
    return grouped(hf(sized("qwen2", R"(, "head_dim": 2, "max_window_layers": 1)" + more)), layer)
        .window;
  };
  EXPECT_EQ(window(R"(, "use_sliding_window": true)"), 4096);
  EXPECT_EQ(window(R"(, "use_sliding_window": true)", 0), 0);
  EXPECT_EQ(window(R"(, "use_sliding_window": true, "sliding_window": null)"), 0);
  EXPECT_EQ(window(R"(, "sliding_window": 3)"), 0);
}

TEST(HfConfig, ExpertsOfQwen3_5AreEverywhereOrNowhere) {
  const std::string more = R"(, "num_key_value_heads": 2, "head_dim": 8, "num_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 4, "shared_expert_intermediate_size": 4,
    "mlp_only_layers": [0])";
  const auto dense = [&](const std::string& type) {
    std::string layers;
    for (const LayerConfig& layer : hf(sized(type, more)).layers) {
      layers += std::holds_alternative<DenseMlp>(layer.mlp) ? "dense " : "experts ";
    }
    return layers;
  };
  EXPECT_EQ(dense("qwen3_5_text"), "dense dense ");
  EXPECT_EQ(dense("qwen3_5_moe_text"), "experts experts ");
  EXPECT_EQ(dense("qwen3_next"), "dense experts ");
}

TEST(HfConfig, SettingsOfSingleLayersAreRefused) {
  EXPECT_EQ(bridge::refusal_of(
                [] { hf(sized("llama", R"(, "per_layer_config": {"0": {"head_dim": 4}})")); }),
            "config.json: per_layer_config: settings of single layers are not read here");
}

constexpr const char* kModel = R"(model:
  hidden_size: 8
  vocab_size: 10
  num_layers: 2
  num_attention_heads: 2
  ffn_hidden_size: 12
  normalization: RMSNorm
  gated_linear_unit: true
  activation_func: {_target_: torch.nn.functional.silu}
  add_bias_linear: false
)";

ModelConfig megatron(const std::string& more) {
  return megatron_model_config(megatron_settings(kModel + more));
}

// Llama-4's: layers without positions have no norm of queries and keys either.
TEST(MegatronConfig, LayersWithoutPositions) {
  const std::string common = "  position_embedding_type: rope\n  qk_l2_norm: true\n";
  const auto turned = [&](const std::string& freq) {
    std::string layers;
    for (const LayerConfig& layer : megatron(common + "  no_rope_freq: " + freq + "\n").layers) {
      const auto& attention = std::get<GroupedAttention>(layer.attention);
      EXPECT_EQ(attention.rotary.channels, attention.unit_qk ? 4 : 0);
      layers += attention.unit_qk ? "turned " : "plain ";
    }
    return layers;
  };
  EXPECT_EQ(turned("null"), "turned turned ");
  EXPECT_EQ(turned("2"), "turned plain ");
  EXPECT_EQ(turned("[1, 0]"), "plain turned ");
  EXPECT_EQ(bridge::refusal_of([&] { turned("[0]"); }),
            "run_config.yaml: model: no_rope_freq: none for layer 1");
  EXPECT_EQ(bridge::refusal_of([&] {
              megatron(common + "  num_moe_experts: 4\n  moe_apply_probs_on_input: true\n");
            }),
            "run_config.yaml: model: moe_apply_probs_on_input: Megatron-Core takes it with "
            "moe_router_topk 1 only");
}

// Each setting changes Megatron-Core's logits, and none is computed.
TEST(MegatronConfig, WhatIsNotComputedIsRefused) {
  for (const std::string line :
       {"softmax_type: off-by-one", "glu_linear_offset: 1.0", "moe_expert_capacity_factor: 0.5",
        "moe_input_jitter_eps: 0.1", "moe_router_load_balancing_type: sinkhorn",
        "moe_router_load_balancing_type: [aux_loss, sinkhorn]",
        "moe_router_force_load_balancing: true", "use_mup: true", "heterogeneous_block_specs: true",
        "moe_shared_expert_glu_interleave_size: 32", "rotary_base_per_layer: [1.0e4, 1.0e6]"}) {
    const std::string name = line.substr(0, line.find(':'));
    const std::string message =
        bridge::refusal_of([&] { megatron("  position_embedding_type: rope\n  " + line + "\n"); });
    EXPECT_EQ(message.rfind("run_config.yaml: model: " + name + ": ", 0), 0U) << message;
  }
  const auto ropes = [](const std::string& more) {
    return bridge::refusal_of([&] { megatron(more); });
  };
  EXPECT_EQ(ropes("  position_embedding_type: rope\n  rope_scaling: true\n"
                  "  seq_len_interpolation_factor: 2.0\n"),
            "run_config.yaml: model: seq_len_interpolation_factor: not computed with rope_scaling");
  EXPECT_EQ(ropes("  position_embedding_type: yarn\n"),
            "run_config.yaml: model: yarn_rotary_scaling_factor: missing");
}

// The layer specifications of Megatron-Bridge's olmoe_provider.py and minimax_m2_provider.py.
TEST(MegatronConfig, ASpecificationNamesTheNormOfAllHeadsTogether) {
  const auto attention_of = [](const std::string& spec, const std::string& qk_layernorm) {
    const ModelConfig config =
        megatron("  position_embedding_type: rope\n  qk_layernorm: " + qk_layernorm +
                 "\n  transformer_layer_spec: {_target_: megatron.bridge.models." + spec +
                 ", _call_: false}\n");
    return std::get<GroupedAttention>(config.layers.at(1).attention);
  };
  const GroupedAttention olmoe = attention_of("olmoe.olmoe_provider.olmoe_layer_spec", "true");
  EXPECT_TRUE(olmoe.qk_norm && olmoe.whole_qk_norm);
  const GroupedAttention minimax =
      attention_of("minimax_m2.minimax_m2_provider.minimax_m2_layer_spec", "false");
  EXPECT_TRUE(minimax.qk_norm && minimax.whole_qk_norm);
  const GroupedAttention plain = attention_of("gpt_provider.default_layer_spec", "true");
  EXPECT_TRUE(plain.qk_norm && !plain.whole_qk_norm);
}

constexpr const char* kLatent = R"(  multi_latent_attention: true
  qk_layernorm: true
)";

constexpr const char* kClampedExperts = R"(model:
  hidden_size: 8
  vocab_size: 10
  num_layers: 2
  num_attention_heads: 2
  ffn_hidden_size: 12
  normalization: RMSNorm
  gated_linear_unit: true
  activation_func: {_target_: megatron.core.fusions.fused_bias_geglu.quick_gelu}
  activation_func_clamp_value: 7.0
  glu_linear_offset: 1.0
  softmax_type: learnable
  position_embedding_type: rope
  window_size: [4, 0]
  window_attn_skip_freq: 2
)";

// As gpt-oss is trained: add_bias_linear, true by default, is for attention, router and experts.
TEST(MegatronConfig, SinksAndExpertsWithBiases) {
  const std::string experts = std::string(kClampedExperts) + "  num_moe_experts: 4\n";
  const ModelConfig config = megatron_model_config(megatron_settings(experts));
  EXPECT_TRUE(grouped(config).sinks && grouped(config).qkv_bias && grouped(config).output_bias);
  EXPECT_EQ(std::get<GroupedAttention>(config.layers.at(0).attention).window, 5);
  EXPECT_EQ(std::get<GroupedAttention>(config.layers.at(1).attention).window, 0);
  const auto& mlp = std::get<MixtureOfExperts>(config.layers.at(1).mlp);
  EXPECT_TRUE(mlp.bias && mlp.router.logit_bias);
  EXPECT_EQ(mlp.limit, 7);
  EXPECT_EQ(mlp.gain, 1.702);
  EXPECT_EQ(mlp.offset, 1);
  EXPECT_EQ(bridge::refusal_of([] { megatron_model_config(megatron_settings(kClampedExperts)); }),
            "run_config.yaml: model: activation_func: quick_gelu is computed for experts only");
  const std::string shared = experts + "  moe_shared_expert_intermediate_size: 6\n";
  EXPECT_EQ(bridge::refusal_of([&] { megatron_model_config(megatron_settings(shared)); }),
            "run_config.yaml: model: add_bias_linear: shared experts with biases are not computed "
            "here");
}

// MLATransformerConfig's defaults, and the settings of a rotary embedding that latent attention
// does not share with ordinary attention.
TEST(MegatronConfig, LatentAttention) {
  const std::string rope = std::string(kLatent) + "  position_embedding_type: rope\n";
  const auto rank = [](const ModelConfig& config) {
    return std::get<LatentAttention>(config.layers.at(0).attention).q_rank;
  };
  EXPECT_EQ(rank(megatron(rope)), 512);
  EXPECT_EQ(rank(megatron(rope + "  q_lora_rank: null\n")), 0);
  EXPECT_EQ(bridge::refusal_of([] { megatron(kLatent); }),
            "run_config.yaml: model: position_embedding_type: learned positions are not computed "
            "here");
  for (const std::string line :
       {"rotary_interleaved: true", "window_size: [3, 0]", "softmax_scale: 0.3"}) {
    EXPECT_NE(bridge::refusal_of([&] { megatron(rope + "  " + line + "\n"); }), "accepted") << line;
  }
}

// The rules of core 0.19.2's dsa.py: which layer has an index, which epsilon its norm has, how its
// channels turn.
TEST(MegatronConfig, IndexOfLatentAttention) {
  const std::string sparse = std::string(kLatent) + R"(  position_embedding_type: rope
  experimental_attention_variant: dsa
  dsa_indexer_n_heads: 3
  dsa_indexer_head_dim: 128
  dsa_indexer_topk: 5
  layernorm_epsilon: 1.0e-3
)";
  const auto index = [&](const std::string& more, size_t layer = 0) {
    return std::get<LatentAttention>(megatron(sparse + more).layers.at(layer).attention).index;
  };
  for (const size_t layer : {0, 1}) {
    EXPECT_EQ(index("", layer).heads, 3);
    EXPECT_EQ(index("", layer).dim, 128);
    EXPECT_EQ(index("", layer).chosen, 5);
    EXPECT_EQ(index("", layer).eps, 1e-3);
    EXPECT_EQ(index("", layer).layout, RotaryLayout::kHalves);
    EXPECT_FALSE(index("", layer).shared);
  }
  EXPECT_EQ(index("  dsa_indexer_k_norm_epsilon: 1.0e-6\n").eps, 1e-6);
  EXPECT_EQ(index("  dsa_indexer_rope_interleaved: true\n").layout, RotaryLayout::kPairs);

  const std::string shared = "  dsa_indexer_topk_freq: 2\n  dsa_indexer_skip_topk_offset: ";
  EXPECT_FALSE(index(shared + "0\n", 0).shared);
  EXPECT_TRUE(index(shared + "0\n", 1).shared);
  EXPECT_TRUE(index(shared + "1\n", 1).shared);
  EXPECT_EQ(index(shared + "1\n", 1).heads, 0);
  EXPECT_EQ(index(shared + "1\n", 1).chosen, 5);
  EXPECT_FALSE(index(shared + "2\n", 1).shared);
  // The first depth is number 1 again.
  const ModelConfig with_mtp = megatron(sparse + shared + "1\n  mtp_num_layers: 1\n");
  EXPECT_EQ(std::get<LatentAttention>(with_mtp.mtp.at(0).attention).index.heads, 3);

  const auto refused = [&](const std::string& more) {
    return bridge::refusal_of([&] { megatron(sparse + more); });
  };
  EXPECT_EQ(
      refused("  dsa_indexer_scoring_relu: false\n"),
      "run_config.yaml: model: dsa_indexer_scoring_relu: scores below 0 are not computed here");
  EXPECT_EQ(refused("  q_lora_rank: null\n"),
            "run_config.yaml: model: the rank of the queries beside an index is 0, not in 1 to "
            "16777216");
  EXPECT_EQ(refused("  dsa_indexer_topk_freq: 0\n"),
            "run_config.yaml: model: dsa_indexer_topk_freq: not positive");
  EXPECT_EQ(refused(shared + "1\n  mtp_num_layers: 2\n"),
            "run_config.yaml: model: a multi-token prediction depth without an index of its own is "
            "not computed here");
}

// RotaryEmbedding has the llama3 scaling; the rotary embedding of mrope has none.
TEST(MegatronConfig, MultiSectionRotaryHasNoScaling) {
  const auto scaling = [](const std::string& kind) {
    return grouped(megatron("  rope_scaling: true\n  position_embedding_type: " + kind + "\n"))
        .rotary.scaling;
  };
  EXPECT_EQ(scaling("rope"), RotaryScaling::kLlama3);
  EXPECT_EQ(scaling("mrope"), RotaryScaling::kNone);
}

}  // namespace
}  // namespace models
