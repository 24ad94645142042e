// What a training step reads of either side's configuration.
#include "models/hf/training.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/megatron/training.h"
#include "models/model/model_config.h"
#include "tests/refusal.h"

namespace models {
namespace {

Settings settings(const char* text) {
  return {"file", Settings::Json::parse(text)};
}

template <typename Read>
void expect_unsupported(const Read& read, const char* text, const char* name) {
  bridge::expect_error(bridge::Code::kUnsupported, name, [&] { read(settings(text)); });
}

TEST(MegatronTraining, ReadsTheLossSettings) {
  const TrainingSettings found = megatron_training(settings(
      R"({"hidden_dropout": 0.0, "attention_dropout": 0, "mtp_loss_scaling_factor": 0.3,
          "moe_router_load_balancing_type": "seq_aux_loss", "moe_aux_loss_coeff": 0.001})"));
  EXPECT_EQ(found.mtp_loss_scale, 0.3);
  EXPECT_EQ(found.router_loss, "seq_aux_loss");
  EXPECT_EQ(found.router_loss_weight, 0.001);
}

// TransformerConfig's own: 0.1 of the depths' losses, aux_loss with the weight 0.
TEST(MegatronTraining, AbsentSettingsHaveTheDefaultsOfTheirClass) {
  const TrainingSettings found =
      megatron_training(settings(R"({"hidden_dropout": 0.0, "attention_dropout": 0.0})"));
  EXPECT_EQ(found.mtp_loss_scale, 0.1);
  EXPECT_EQ(found.router_loss, "aux_loss");
  EXPECT_EQ(found.router_loss_weight, 0);
}

TEST(MegatronTraining, RefusesWhatAStepDoesNotHave) {
  expect_unsupported(megatron_training, R"({"attention_dropout": 0.0})", "hidden_dropout");
  expect_unsupported(megatron_training, R"({"hidden_dropout": 0.0, "attention_dropout": 0.1})",
                     "attention_dropout");
  expect_unsupported(
      megatron_training,
      R"({"hidden_dropout": 0.0, "attention_dropout": 0.0, "mtp_detach_heads": true})",
      "mtp_detach_heads");
}

// Megatron-LM has no step with these either; each is named with what it does not go with.
TEST(MegatronTraining, RefusesRecomputationThatDoesNotGoWithHyperConnections) {
  const auto with = [](const std::string& more) {
    return R"({"hidden_dropout": 0.0, "attention_dropout": 0.0, )" + more + "}";
  };
  const std::string selective = R"("recompute_granularity": "selective", )";
  for (const auto& [more, name] : std::vector<std::pair<std::string, const char*>>{
           {R"("recompute_granularity": "full", "enable_mhc_connections": true)",
            "'full' with enable_mhc_connections"},
           {selective + R"("recompute_modules": ["mhc"])", "'mhc' without enable_mhc_connections"},
           {selective + R"("recompute_modules": ["mlp", "mhc"], "enable_mhc_connections": true)",
            "'mhc' with 'mlp'"},
           {selective + R"("recompute_modules": ["mlp", "mhc"], "enable_hyper_connections": true)",
            "'mhc' with 'mlp'"},
           {selective + R"("recompute_modules": ["mhc"], "enable_mhc_connections": true,
                           "fine_grained_activation_offloading": true)",
            "'mhc' with fine_grained_activation_offloading"}}) {
    expect_unsupported(megatron_training, with(more).c_str(), name);
  }
  for (const char* accepted :
       {R"("recompute_granularity": "full", "enable_hyper_connections": true)",
        R"("recompute_modules": ["mhc"])",
        R"("recompute_granularity": "selective", "recompute_modules": ["mhc"],
           "enable_mhc_connections": true, "mhc_recompute_layer_num": 2)"}) {
    EXPECT_NO_THROW(megatron_training(settings(with(accepted).c_str()))) << accepted;
  }
}

// Megatron-LM's build_mhc_recompute_layer_plan: only with mhc among the modules of selective
// recomputation; without a number all layers are one block.
TEST(MegatronTraining, BlocksOfHyperConnections) {
  const auto block = [](const std::string& more) {
    const std::string text = R"({"hidden_dropout": 0.0, "attention_dropout": 0.0,
                                 "enable_mhc_connections": true)" +
                             more + "}";
    return megatron_training(settings(text.c_str())).mhc_block;
  };
  const std::string selective = R"(, "recompute_granularity": "selective")";
  const std::string mhc = R"(, "recompute_modules": ["core_attn", "mhc"])";
  const std::string two = R"(, "mhc_recompute_layer_num": 2)";
  EXPECT_EQ(block(selective + mhc + two), 2);
  EXPECT_EQ(block(selective + mhc), kMostLayers);
  EXPECT_EQ(block(mhc + two), std::nullopt);
  EXPECT_EQ(block(selective + two), std::nullopt);
  EXPECT_EQ(block(""), std::nullopt);
}

// Megatron-Bridge's models of Qwen interleave; GPTModel has blocks, and with rope one position.
TEST(MegatronTraining, Sections) {
  const auto sections = [](const std::string& more) {
    const std::string text =
        R"({"hidden_dropout": 0.0, "attention_dropout": 0.0, "mrope_section": [3, 2, 1])" + more +
        "}";
    return megatron_training(settings(text.c_str())).sections;
  };
  const std::string mrope = R"(, "position_embedding_type": "mrope")";
  const auto in_blocks = sections(mrope);
  ASSERT_TRUE(in_blocks);
  EXPECT_EQ(in_blocks->position_of(1), 0);
  const auto of_bridge = sections(
      mrope +
      R"(, "_target_": "megatron.bridge.models.qwen_vl.qwen35_vl_provider.Qwen35VLModelProvider")");
  ASSERT_TRUE(of_bridge);
  EXPECT_EQ(of_bridge->position_of(1), 1);
  EXPECT_FALSE(sections(R"(, "position_embedding_type": "rope")"));
}

// The class's default where the file has none; other families have one position.
TEST(HfTraining, Sections) {
  const auto sections = [](const char* text) { return hf_training(settings(text)).sections; };
  const auto given = sections(
      R"({"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text",
          "rope_parameters": {"rope_theta": 100, "mrope_section": [3, 0, 1]}}})");
  ASSERT_TRUE(given);
  EXPECT_EQ(given->position_of(1), 0);
  EXPECT_EQ(given->position_of(2), 2);
  const auto absent = sections(R"({"model_type": "qwen3_5_moe_text"})");
  ASSERT_TRUE(absent);
  EXPECT_EQ(absent->position_of(31), 1);
  EXPECT_EQ(absent->position_of(32), 0);
  EXPECT_FALSE(sections(R"({"model_type": "qwen3_next"})"));
}

TEST(HfTraining, HasNoLossSettings) {
  const TrainingSettings found = hf_training(settings(R"({"attention_dropout": 0.0})"));
  EXPECT_EQ(found.mtp_loss_scale, std::nullopt);
  EXPECT_EQ(found.router_loss, std::nullopt);
}

TEST(HfTraining, RefusesDropoutAndNoise) {
  expect_unsupported(hf_training, R"({"attention_dropout": 0.1})", "attention_dropout");
  expect_unsupported(hf_training, R"({"router_jitter_noise": 0.01})", "router_jitter_noise");
  expect_unsupported(hf_training, R"({"text_config": {"attention_dropout": 0.1}})",
                     "attention_dropout");
}

}  // namespace
}  // namespace models
