// Tests the flags that Megatron-LM needs besides --use-checkpoint-args, for the arguments of
// released models. Expected values come from the definitions of Megatron-LM's parser, and from the
// flags, chosen by hand, under which its pretrain_gpt.py computed the reference logits of these
// models.
#include "mappings/megatron/megatron_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace mappings {
namespace {

std::string flags_of(const char* args) {
  return fmt::format("{}", fmt::join(megatron_flags(Json::parse(args)).flags, " "));
}

std::string pairs_of(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string text;
  for (const auto& [name, value] : pairs) text += fmt::format("{}={} ", name, value);
  return text;
}

TEST(MegatronFlags, OfADenseModelWithNormsOfQueriesAndKeys) {
  const char* qwen3 = R"({"num_layers": 36, "norm_epsilon": 1e-06, "qk_layernorm": true,
      "use_rope_scaling": false, "rope_scaling_factor": 1.0, "multi_latent_attention": false,
      "q_lora_rank": null, "num_experts": null, "moe_router_dtype": "fp32", "mtp_num_layers": null,
      "transformer_impl": "transformer_engine", "bf16": true, "fp16": false})";
  EXPECT_EQ(flags_of(qwen3), "--norm-epsilon 1.0e-06 --qk-layernorm --bf16");
  const MegatronFlags found = megatron_flags(Json::parse(qwen3));
  EXPECT_TRUE(found.no_flag.empty());
  EXPECT_EQ(pairs_of(found.provider), "layernorm_epsilon=1.0e-06 qk_layernorm=True bf16=True ");
}

TEST(MegatronFlags, DefaultsOfTheParserNeedNone) {
  EXPECT_EQ(flags_of(R"({"norm_epsilon": 1e-05, "qk_layernorm": false, "num_experts": 8,
      "moe_router_load_balancing_type": "aux_loss", "moe_aux_loss_coeff": 0.0})"),
            "");
  EXPECT_EQ(flags_of("{}"), "");
  EXPECT_EQ(flags_of(R"({"transformer_impl": "local"})"), "--transformer-impl local");
}

TEST(MegatronFlags, OfRopeScaling) {
  EXPECT_EQ(flags_of(R"({"use_rope_scaling": true, "rope_scaling_factor": 32.0})"),
            "--use-rope-scaling --rope-scaling-factor 32.0");
  EXPECT_EQ(flags_of(R"({"use_rope_scaling": false, "rope_scaling_factor": 32.0})"), "");
}

TEST(MegatronFlags, OfSinksAndAClampedQuickGelu) {
  const MegatronFlags found = megatron_flags(Json::parse(R"({"swiglu": false, "quick_geglu": true,
      "activation_func_clamp_value": 7.0, "glu_linear_offset": 1.0, "softmax_type": "learnable"})"));
  EXPECT_EQ(fmt::format("{}", fmt::join(found.flags, " ")),
            "--activation-func-clamp-value 7.0 --quick-geglu --glu-linear-offset 1.0 "
            "--softmax-type learnable");
  EXPECT_EQ(pairs_of(found.provider),
            "activation_func_clamp_value=7.0 glu_linear_offset=1.0 softmax_type='learnable' ");
  EXPECT_EQ(
      flags_of(R"({"quick_geglu": false, "glu_linear_offset": 0.0, "softmax_type": "vanilla"})"),
      "");
}

TEST(MegatronFlags, OfYarnOutsideOfLatentAttention) {
  const MegatronFlags found = megatron_flags(Json::parse(R"({"position_embedding_type": "yarn",
      "rotary_scaling_factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.0,
      "yarn_original_max_position_embeddings": 32768, "yarn_beta_fast": 32.0, "yarn_beta_slow": 1.0,
      "yarn_correction_range_round_to_int": false})"));
  EXPECT_EQ(fmt::format("{}", fmt::join(found.flags, " ")),
            "--rotary-scaling-factor 4.0 --yarn-original-max-position-embeddings 32768 "
            "--yarn-beta-fast 32.0 --yarn-beta-slow 1.0 --no-yarn-correction-range-round-to-int");
  EXPECT_EQ(found.provider[0].first, "yarn_rotary_scaling_factor");
}

TEST(MegatronFlags, OfLatentAttention) {
  const char* v3 = R"({"norm_epsilon": 1e-06, "qk_layernorm": true, "multi_latent_attention": true,
      "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_head_dim": 128, "qk_pos_emb_head_dim": 64,
      "v_head_dim": 128, "rope_type": "yarn", "rotary_scaling_factor": 40, "mscale": 1.0,
      "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "beta_fast": 32,
      "beta_slow": 1, "num_experts": 256, "moe_router_enable_expert_bias": true,
      "moe_router_bias_update_rate": 0.001, "moe_router_dtype": "fp32", "moe_router_num_groups": 8,
      "moe_router_group_topk": 4, "moe_router_load_balancing_type": "seq_aux_loss",
      "moe_aux_loss_coeff": 0.0001, "mtp_num_layers": 1, "mtp_loss_scaling_factor": 0.1})";
  EXPECT_EQ(flags_of(v3),
            "--norm-epsilon 1.0e-06 --qk-layernorm --multi-latent-attention --q-lora-rank 1536 "
            "--kv-lora-rank 512 --rope-type yarn --rotary-scaling-factor 40 --mscale-all-dim 1.0 "
            "--moe-router-dtype fp32 --moe-router-num-groups 8 --moe-router-group-topk 4 "
            "--moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.0001");
  EXPECT_TRUE(megatron_flags(Json::parse(v3)).no_flag.empty());
  Json shorter = Json::parse(v3);
  shorter["original_max_position_embeddings"] = 64;
  EXPECT_EQ(pairs_of(megatron_flags(shorter).no_flag), "original_max_position_embeddings=64 ");
  shorter["rope_type"] = "rope";  // nothing is scaled
  EXPECT_TRUE(megatron_flags(shorter).no_flag.empty());
}

TEST(MegatronFlags, ListsAreWrittenAsTheirFlagsReadThem) {
  EXPECT_EQ(flags_of(R"({"window_size": [128, 0], "mrope_section": [11, 11, 10],
      "experimental_attention_variant": "gated_delta_net", "linear_attention_freq": [1, 1, 1, 0]})"),
            "--window-size 128,0 --mrope-section 11 11 10 "
            "--experimental-attention-variant gated_delta_net --linear-attention-freq [1,1,1,0]");
}

}  // namespace
}  // namespace mappings
