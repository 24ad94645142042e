// The config.json of Ling-mini-2.0, by its own BailingMoeV2Config.
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/names.h"
#include "tests/mappings/table/configs.h"
#include "tests/refusal.h"

namespace models {
namespace {

// change: a member that replaces one of the release's.
ModelConfig ling(const std::string& change = "{}") {
  nlohmann::ordered_json config = bridge::parse_json(mappings::kLingMini);
  config.update(bridge::parse_json(change));
  return hf_model_config(Settings("config.json", config), /*drop_mtp=*/false);
}

TEST(BailingMoeV2, AsReleased) {
  const ModelConfig config = ling();
  ASSERT_EQ(config.layers.size(), 20U);
  EXPECT_TRUE(std::holds_alternative<DenseMlp>(config.layers[0].mlp));
  const auto& attention = std::get<GroupedAttention>(config.mtp.at(0).attention);
  EXPECT_TRUE(attention.qk_norm);
  EXPECT_FALSE(attention.qkv_bias || attention.output_bias);
  EXPECT_EQ(attention.rotary.channels, 64);
  EXPECT_EQ(attention.rotary.base, 600000);
  const auto& experts = std::get<MixtureOfExperts>(config.mtp.at(0).mlp);
  EXPECT_EQ(experts.router.experts, 256);
  EXPECT_EQ(experts.router.groups, 8);
  EXPECT_EQ(experts.router.chosen_groups, 4);
  EXPECT_EQ(experts.router.ranked_by, 2);
  EXPECT_EQ(experts.router.factor, 2.5);
  EXPECT_TRUE(experts.router.selection_bias && experts.router.normalized);
  EXPECT_EQ(experts.shared_width, 512);
}

TEST(BailingMoeV2, Refusals) {
  for (const char* change : {R"({"use_bias": true})", R"({"use_qk_norm": false})"}) {
    SCOPED_TRACE(change);
    bridge::expect_error(bridge::Code::kUnsupported, "", [&] { ling(change); });
  }
}

TEST(BailingMoeV2, Names) {
  const ModelConfig config = ling(R"({"use_qkv_bias": true})");
  const HfNames names(architectures::kBailingMoeV2, config, "model.");
  EXPECT_EQ(names.places({Role::kEmbedding}).at(0).name, "model.word_embeddings.weight");
  const auto place = [&](Role role, int64_t expert = -1) {
    return names.places({role, Section::kMtp, 0, expert}).at(0);
  };
  EXPECT_EQ(place(Role::kO).name, "model.layers.20.attention.dense.weight");
  EXPECT_EQ(place(Role::kRouter).name, "model.layers.20.mlp.gate.weight");
  EXPECT_EQ(place(Role::kRouterBias).name, "model.layers.20.mlp.gate.expert_bias");
  EXPECT_EQ(place(Role::kExpertUp, 7).name, "model.layers.20.mlp.experts.7.up_proj.weight");
  EXPECT_EQ(place(Role::kMtpFinalNorm).name, "model.layers.20.final_layernorm.weight");
  // 16 heads of queries, then 4 of keys and 4 of values.
  const HfPlace key = place(Role::kKBias);
  EXPECT_EQ(key.name, "model.layers.20.attention.query_key_value.bias");
  EXPECT_EQ(key.rows.first, 16 * 128);
  EXPECT_EQ(place(Role::kV).rows.first, 20 * 128);
}

}  // namespace
}  // namespace models
