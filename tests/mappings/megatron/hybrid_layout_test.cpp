// The fields of a HybridModel beside those of the GPTModel that computes the same. The patterns are
// those of megatron-core's gpt_checkpoint_interop.py.
#include "mappings/megatron/hybrid_layout.h"

#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "tests/refusal.h"

namespace mappings {
namespace {

Json gpt_fields(const char* more) {
  Json fields = Json::parse(R"({
    "_target_": "megatron.bridge.models.gpt_provider.GPTModelProvider", "num_layers": 3,
    "transformer_layer_spec": {"_target_": "x"}, "rope_scaling": false, "rope_scaling_factor": 8.0,
    "mtp_num_layers": null, "experimental_attention_variant": null, "multi_latent_attention": false,
    "num_moe_experts": null})");
  fields.update(Json::parse(more));
  return fields;
}

template <typename Call>
std::string unsupported_by(const Call& call) {
  return bridge::refusal_of([&] { call(); }, bridge::Code::kUnsupported);
}

TEST(HybridLayout, APairOfLayersForEach) {
  const std::pair<const char*, const char*> models[] = {
      {"{}", "*-*-*-"},
      {R"({"num_moe_experts": 4, "moe_layer_freq": 1})", "*E*E*E"},
      {R"({"num_moe_experts": 4, "moe_layer_freq": 2})", "*E*-*E"},
      {R"({"num_moe_experts": 4, "moe_layer_freq": [0, 1, 1]})", "*-*E*E"},
  };
  for (const auto& [more, pattern] : models) {
    const Json hybrid = hybrid_provider(gpt_fields(more));
    EXPECT_EQ(hybrid["hybrid_layer_pattern"], pattern);
    EXPECT_EQ(hybrid["num_layers"], 6);
    EXPECT_EQ(hybrid["_target_"],
              "megatron.bridge.models.hybrid.hybrid_provider.HybridModelProvider");
    for (const char* name : {"transformer_layer_spec", "rope_scaling", "rope_scaling_factor"}) {
      EXPECT_FALSE(hybrid.contains(name)) << name;
    }
    EXPECT_EQ(hybrid.value("moe_layer_freq", 1), 1);
  }
}

TEST(HybridLayout, WhatItDoesNotCoverIsNamed) {
  const std::pair<const char*, const char*> models[] = {
      {R"({"multi_latent_attention": true})", "(MLA)"},
      {R"({"experimental_attention_variant": "gated_delta_net"})", "(GDN)"},
      {R"({"experimental_attention_variant": "gdn"})", "(GDN)"},
      {R"({"experimental_attention_variant": "dsa"})", "(DSA)"},
      {R"({"experimental_attention_variant": "dsv4_hybrid"})", "DeepSeek-V4"},
      {R"({"mtp_num_layers": 1})", "(MTP)"},
      {R"({"transformer_layer_spec":
          {"_target_": "megatron.bridge.models.olmoe.olmoe_provider.olmoe_layer_spec"}})",
       "the layers of megatron.bridge.models.olmoe.olmoe_provider.olmoe_layer_spec"},
      {R"({"rope_scaling": true})", "rope_scaling"},
      {R"({"window_attn_skip_freq": [0, 1, 1]})", "window"},
      {R"({"vision_config": {"depth": 2}})", "vision"},
  };
  for (const auto& model : models) {
    const std::string message = unsupported_by([&] { hybrid_provider(gpt_fields(model.first)); });
    EXPECT_NE(message.find(model.second), std::string::npos) << message;
    EXPECT_NE(message.find("--layout hybrid"), std::string::npos) << message;
  }
}

TEST(HybridLayout, IsStatedAsGptModelWould) {
  for (const char* name : {"hybrid_layer_pattern", "hybrid_override_pattern"}) {
    Json fields = Json::parse(R"({"num_layers": 6, "moe_layer_freq": 1, "num_moe_experts": 4})");
    fields[name] = "*-*E|*E";
    state_as_gpt(fields);
    EXPECT_EQ(fields["num_layers"], 3);
    EXPECT_EQ(fields["moe_layer_freq"], Json::parse("[0, 1, 1]"));
    EXPECT_EQ(fields["num_moe_experts"], 4);
  }
  Json dense = Json::parse(R"({"num_layers": 4, "num_moe_experts": 4})");
  dense["hybrid_layer_pattern"] = "*-*-";
  state_as_gpt(dense);
  EXPECT_EQ(dense["num_moe_experts"], nullptr);
  Json gpt = Json::parse(R"({"num_layers": 4, "hybrid_layer_pattern": null})");
  state_as_gpt(gpt);
  EXPECT_EQ(gpt, Json::parse(R"({"num_layers": 4, "hybrid_layer_pattern": null})"));
}

// As HybridModel's own parse_hybrid_pattern reads it.
TEST(HybridLayout, AModelWithMambaKeepsItsPattern) {
  Json fields = Json::parse(R"({"num_layers": 9, "num_moe_experts": 4, "mtp_num_layers": null})");
  fields["hybrid_layer_pattern"] = "M-|M*E/*E/*E";
  state_as_gpt(fields);
  EXPECT_EQ(fields["hybrid_layer_pattern"], "M-M*E");
  EXPECT_EQ(fields["mtp_hybrid_override_pattern"], "*E");
  EXPECT_EQ(fields["num_layers"], 5);
  EXPECT_EQ(fields["mtp_num_layers"], 2);
  EXPECT_EQ(fields["num_moe_experts"], 4);
  EXPECT_EQ(fields["moe_layer_freq"], Json::parse("[1, 0, 1, 1, 1]"));
  Json older = Json::parse(R"({"hybrid_override_pattern": "M*-", "num_moe_experts": 4})");
  state_as_gpt(older);
  EXPECT_EQ(older["hybrid_layer_pattern"], "M*-");
  EXPECT_EQ(older["num_moe_experts"], nullptr);
  EXPECT_FALSE(older.contains("mtp_num_layers"));
  const Json hybrid = {{"num_layers", 2}, {"hybrid_layer_pattern", "M*"}};
  EXPECT_NE(unsupported_by([&] { hybrid_provider(hybrid); }).find("already"), std::string::npos);
}

TEST(HybridLayout, OtherPatternsAreRefused) {
  const std::pair<const char*, const char*> patterns[] = {
      {"M-G*", "'G' at 2 (Gated DeltaNet)"},
      {"M-+E", "'+' at 2 (multi-head latent attention)"},
      {"*-*-/*-", "'/' at 4 (multi-token prediction)"},
      {"+-", "'+' at 0 (multi-head latent attention)"},
      {"G-", "'G' at 0 (Gated DeltaNet)"},
      {"D-", "'D' at 0 (DeepSeek sparse attention)"},
      {"**--", "'*' at 1"},
      {"*-*", "'*' at 2"},
  };
  for (const auto& [pattern, what] : patterns) {
    Json fields = {{"hybrid_layer_pattern", pattern}};
    const std::string message = unsupported_by([&] { state_as_gpt(fields); });
    EXPECT_NE(message.find(what), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace mappings
