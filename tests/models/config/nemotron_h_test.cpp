// Configurations and names of Nemotron-H in the two views.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/names.h"
#include "models/megatron/config.h"
#include "models/megatron/layout.h"
#include "models/model/tensor_id.h"

namespace models {
namespace {

constexpr const char* kConfig = R"({
  "model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"], "hidden_size": 48,
  "vocab_size": 64, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2,
  "head_dim": 16, "mamba_num_heads": 6, "mamba_head_dim": 8, "n_groups": 2, "ssm_state_size": 16,
  "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
  "moe_shared_expert_intermediate_size": 40, "moe_latent_size": 32, "routed_scaling_factor": 2.5,
  "time_step_min": 0, "num_nextn_predict_layers": 2, "hybrid_override_pattern": "M*-E",
  "mtp_hybrid_override_pattern": "*E"
})";

constexpr const char* kRunConfig = R"(model:
  hybrid_layer_pattern: M*-|E/*E/*E
  is_hybrid_model: true
  num_layers: 4
  mtp_num_layers: 2
  hidden_size: 48
  vocab_size: 64
  ffn_hidden_size: 80
  num_attention_heads: 4
  num_query_groups: 2
  kv_channels: 16
  mamba_num_heads: 6
  mamba_head_dim: 8
  mamba_num_groups: 2
  mamba_state_dim: 16
  num_moe_experts: 6
  moe_router_topk: 2
  moe_router_score_function: sigmoid
  moe_router_enable_expert_bias: true
  moe_router_topk_scaling_factor: 2.5
  moe_ffn_hidden_size: 24
  moe_shared_expert_intermediate_size: 40
  moe_latent_size: 32
  position_embedding_type: none
  normalization: RMSNorm
  add_bias_linear: false
  gated_linear_unit: false
  activation_func:
    _target_: megatron.core.activations.squared_relu
  share_embeddings_and_output_weights: false
)";

// change: members that replace those of the model; null removes one.
ModelConfig hf(const std::string& change = "{}", bool drop_mtp = false) {
  nlohmann::ordered_json config = bridge::parse_json(kConfig);
  config.merge_patch(bridge::parse_json(change));
  return hf_model_config(Settings("config.json", config), drop_mtp);
}

// from: a part of the settings, which `to` replaces.
ModelConfig megatron(const std::string& from = "", const std::string& to = "") {
  std::string yaml = kRunConfig;
  if (!from.empty()) yaml.replace(yaml.find(from), from.size(), to);
  return megatron_model_config(megatron_settings(yaml));
}

template <typename Read>
std::string refusal(const Read& read, bridge::Code code) {
  try {
    read();
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    return error.message();
  }
  return "accepted";
}

TEST(NemotronH, IsTheSameModelInBothViews) {
  const auto ours = describe(hf());
  const auto theirs = describe(megatron());
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i], theirs[i]);
}

TEST(NemotronH, AsTransformersReadsIt) {
  const ModelConfig config = hf(R"({"time_step_min": null, "layer_norm_epsilon": 0.001})");
  ASSERT_EQ(config.layers.size(), 4U);
  const auto& mixer = std::get<Mamba2>(config.layers[0].attention);
  EXPECT_EQ(mixer.least_step, 0.001);
  EXPECT_EQ(mixer.eps, 0.001);
  EXPECT_EQ(mixer.kernel, 4);
  EXPECT_FALSE(config.layers[0].has_mlp());
  EXPECT_EQ(std::get<GroupedAttention>(config.layers[1].attention).rotary, RotaryConfig{});
  EXPECT_FALSE(std::get<DenseMlp>(config.layers[2].mlp).gated);
  EXPECT_FALSE(config.layers[2].has_attention());
  const auto& experts = std::get<MixtureOfExperts>(config.mtp.at(1).mlp);
  EXPECT_EQ(experts.latent, 32);
  EXPECT_FALSE(experts.gated);
  EXPECT_TRUE(config.mtp[1].has_attention());
  EXPECT_TRUE(hf("{}", /*drop_mtp=*/true).mtp.empty());
}

// The kinds of all blocks, by the characters of the releases.
std::string blocks_of(const std::vector<LayerConfig>& layers) {
  std::string text;
  for (const LayerConfig& layer : layers) {
    if (std::holds_alternative<Mamba2>(layer.attention)) text += 'M';
    if (std::holds_alternative<GroupedAttention>(layer.attention)) text += '*';
    if (std::holds_alternative<DenseMlp>(layer.mlp)) text += '-';
    if (std::holds_alternative<MixtureOfExperts>(layer.mlp)) text += 'E';
  }
  return text;
}

// Lists win over texts, but the class's default of the depth's list does not.
TEST(NemotronH, ListsOfWordsAndTexts) {
  const auto decoder = [](const char* change) { return blocks_of(hf(change).layers); };
  EXPECT_EQ(decoder("{}"), "M*-E");
  EXPECT_EQ(decoder(R"({"layers_block_type": ["mamba", "mlp", "attention"]})"), "M-*");
  EXPECT_EQ(decoder(R"({"layers_block_type": ["linear_attention", "moe", "full_attention"]})"),
            "ME*");
  EXPECT_EQ(decoder(R"({"hybrid_override_pattern": null})"), "ME*-");
  const auto depths = [](const char* change) { return blocks_of(hf(change).mtp); };
  EXPECT_EQ(depths(R"({"mtp_hybrid_override_pattern": null})"), "*E*E");
  EXPECT_EQ(depths(R"({"mtp_hybrid_override_pattern": "-"})"), "--");
  EXPECT_EQ(depths(R"({"mtp_hybrid_override_pattern": "M-",
                       "mtp_layers_block_type": ["full_attention", "moe"]})"),
            "M-M-");
  EXPECT_EQ(depths(R"({"mtp_layers_block_type": ["linear_attention", "moe"]})"), "MEME");
}

TEST(NemotronH, Refusals) {
  const auto unsupported = [](const char* change) {
    return refusal([&] { hf(change); }, bridge::Code::kUnsupported);
  };
  for (const char* flag : {"use_bias", "mamba_proj_bias", "mlp_bias", "attention_bias"}) {
    EXPECT_EQ(unsupported((R"({")" + std::string(flag) + R"(": true})").c_str()),
              "config.json: " + std::string(flag) + ": not computed here");
  }
  EXPECT_EQ(unsupported(R"({"use_conv_bias": false})"),
            "config.json: use_conv_bias: computed with this bias only");
  EXPECT_EQ(unsupported(R"({"mlp_hidden_act": "silu"})"),
            "config.json: mlp_hidden_act: relu2 is the one that is computed here");
  EXPECT_EQ(unsupported(R"({"hybrid_override_pattern": "MG"})"),
            "config.json: hybrid_override_pattern: 'G' is not computed here");
  for (const char* depth : {"E*", "MM", "*-E", "--"}) {
    const std::string change = R"({"mtp_hybrid_override_pattern": ")" + std::string(depth) + "\"}";
    EXPECT_NE(unsupported(change.c_str()).find("--mtp drop leaves it out"), std::string::npos);
    EXPECT_EQ(refusal([&] { hf(change, /*drop_mtp=*/true); }, bridge::Code::kUnsupported),
              "accepted");
  }
  EXPECT_EQ(refusal([] { hf(R"({"n_groups": 4})"); }, bridge::Code::kBadInput),
            "config.json: 6 Mamba heads do not make 4 equal groups");
}

TEST(NemotronH, MegatronsRefusals) {
  const auto with = [](const std::string& pattern, bridge::Code code) {
    return refusal([&] { megatron("M*-|E/*E/*E", pattern); }, code);
  };
  EXPECT_EQ(with("M*G", bridge::Code::kUnsupported),
            "run_config.yaml: model: hybrid_layer_pattern: 'G' at 2: Mamba-2 (M), attention (*), "
            "MLPs (-) and experts (E) are computed");
  EXPECT_EQ(with("M*/E*/E*", bridge::Code::kUnsupported),
            "run_config.yaml: model: hybrid_layer_pattern: '/E*': depths of one block, or of "
            "attention or Mamba-2 before an MLP or experts, are computed");
  EXPECT_EQ(with("M*/*E", bridge::Code::kBadInput),
            "run_config.yaml: model: mtp_num_layers: 2, but hybrid_layer_pattern has 1 depths");
  EXPECT_EQ(with("M*", bridge::Code::kBadInput),
            "run_config.yaml: model: mtp_num_layers: 2, but hybrid_layer_pattern has 0 depths");
  EXPECT_EQ(refusal([] { megatron("gated_linear_unit: false", "gated_linear_unit: true"); },
                    bridge::Code::kUnsupported),
            "run_config.yaml: model: activation_func: experts with a gated "
            "torch.nn.functional.silu or quick_gelu, or with squared_relu and no gate, are "
            "computed here");
}

TEST(NemotronH, HeadsThatNothingCounts) {
  const ModelConfig config = megatron("mamba_num_heads: 6", "mamba_num_heads: null");
  EXPECT_EQ(std::get<Mamba2>(config.layers.at(0).attention).heads, 2 * 48 / 8);
}

TEST(NemotronH, HuggingFaceNames) {
  const ModelConfig config = hf();
  const HfNames names(architectures::kNemotronH, config, "backbone.");
  const auto place = [&](Role role, Section section, int64_t index, int64_t expert = -1) {
    return names.places({role, section, index, expert}).at(0);
  };
  EXPECT_EQ(place(Role::kEmbedding, Section::kModel, 0).name, "backbone.embeddings.weight");
  EXPECT_EQ(place(Role::kO, Section::kLayer, 0).name, "backbone.layers.0.mixer.out_proj.weight");
  EXPECT_EQ(place(Role::kO, Section::kLayer, 1).name, "backbone.layers.1.mixer.o_proj.weight");
  const HfPlace c = place(Role::kScanC, Section::kLayer, 0);
  EXPECT_EQ(c.name, "backbone.layers.0.mixer.in_proj.weight");
  EXPECT_EQ(c.rows.first, 2 * 48 + 2 * 16);
  EXPECT_EQ(c.rows.total, 2 * 48 + 2 * 2 * 16 + 6);
  const HfPlace bias = place(Role::kScanBConvBias, Section::kLayer, 0);
  EXPECT_EQ(bias.name, "backbone.layers.0.mixer.conv1d.bias");
  EXPECT_EQ(bias.rows.first, 48);
  // Two blocks a depth: the frame lies at the first, its last norm at the second.
  EXPECT_EQ(place(Role::kMtpProjection, Section::kMtp, 1).name, "mtp.layers.2.eh_proj.weight");
  EXPECT_EQ(place(Role::kAttentionNorm, Section::kMtp, 1).name, "mtp.layers.2.norm.weight");
  EXPECT_EQ(place(Role::kMlpNorm, Section::kMtp, 1).name, "mtp.layers.3.norm.weight");
  EXPECT_EQ(place(Role::kExpertUp, Section::kMtp, 1, 5).name,
            "mtp.layers.3.mixer.experts.5.up_proj.weight");
  EXPECT_EQ(place(Role::kMtpFinalNorm, Section::kMtp, 1).name,
            "mtp.layers.3.final_layernorm.weight");
  const std::vector<HfPlace> packed = names.places({Role::kExpertDown, Section::kLayer, 3, 5});
  EXPECT_EQ(packed.at(1).name, "backbone.layers.3.mixer.experts.down_proj");
  EXPECT_TRUE(packed.at(1).expert_axis);

  const ModelConfig single = hf(R"({"mtp_hybrid_override_pattern": "-"})");
  const HfNames of_single(architectures::kNemotronH, single, "backbone.");
  EXPECT_EQ(of_single.places({Role::kMtpFinalNorm, Section::kMtp, 1}).at(0).name,
            "mtp.layers.1.final_layernorm.weight");
}

TEST(NemotronH, MegatronsKeys) {
  const ModelConfig config = megatron();
  const MegatronLayout layout(config, 0);
  const auto inner = [&](Role role, int64_t index, int64_t expert = -1) {
    return layout.places({role, Section::kLayer, index, expert}).at(0).inner;
  };
  EXPECT_EQ(inner(Role::kScanBConvBias, 0), "mixer.conv1d.bias.B");
  EXPECT_EQ(inner(Role::kStep, 0), "mixer.in_proj.weight.dt");
  EXPECT_EQ(inner(Role::kAttentionNorm, 0), "mixer.in_proj.layer_norm_weight");
  EXPECT_EQ(inner(Role::kO, 0), "mixer.out_proj.weight");
  EXPECT_EQ(inner(Role::kO, 1), "self_attention.linear_proj.weight");
  EXPECT_EQ(inner(Role::kLatentDown, 3), "mlp.fc1_latent_proj.weight");
  EXPECT_EQ(inner(Role::kSharedUp, 3), "mlp.shared_experts.linear_fc1.weight");
  const MegatronPlace up = layout.places({Role::kExpertUp, Section::kLayer, 3, 5}).at(0);
  EXPECT_EQ(up.inner, "mlp.experts.experts.linear_fc1.weight");
  EXPECT_EQ(up.rows.count, 0);  // all rows: there is no gate
}

}  // namespace
}  // namespace models
