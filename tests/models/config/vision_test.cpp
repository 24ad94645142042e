// Tests the vision tower in both views: sizes, names and rows. tests/interop/test_forward_vision.py
// tests that they agree on what real Megatron-Bridge wrote.
#include "models/hf/vision.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "models/megatron/config.h"
#include "models/megatron/vision.h"
#include "models/model/vision_tensors.h"
#include "tests/mappings/table/listed_tensors.h"
#include "tests/refusal.h"

namespace models {
namespace {

std::optional<VisionTower> hf(const std::string& config) {
  return hf_vision_tower(Settings("config.json", bridge::parse_json(config)));
}

std::optional<VisionTower> megatron(const std::string& model) {
  return megatron_vision_tower(megatron_settings("model: " + model));
}

template <typename Read>
std::string refusal(const Read& read, bridge::Code code = bridge::Code::kBadInput) {
  return bridge::refusal_of([&] { read(); }, code);
}

constexpr VisionTower kSmall = {.blocks = 1,
                                .width = 6,
                                .heads = 2,
                                .hidden = 5,
                                .channels = 3,
                                .frames = 2,
                                .patch = 4,
                                .places = 9,
                                .merge = 2,
                                .output = 7};

TEST(VisionTensors, NamesAndShapes) {
  std::vector<std::string> names;
  for_each_vision_tensor(kSmall, [&](const TensorId& id, const bridge::Shape& shape) {
    EXPECT_TRUE(is_vision(id));
    names.push_back(to_string(id) + " " + bridge::shape_text(shape));
  });
  EXPECT_EQ(names, (std::vector<std::string>{
                       "vision.patch_embedding [6, 3, 2, 4, 4]",
                       "vision.patch_embedding_bias [6]",
                       "vision.places [9, 6]",
                       "vision.blocks.0.attention_norm [6]",
                       "vision.blocks.0.attention_norm_bias [6]",
                       "vision.blocks.0.q [6, 6]",
                       "vision.blocks.0.k [6, 6]",
                       "vision.blocks.0.v [6, 6]",
                       "vision.blocks.0.o [6, 6]",
                       "vision.blocks.0.q_bias [6]",
                       "vision.blocks.0.k_bias [6]",
                       "vision.blocks.0.v_bias [6]",
                       "vision.blocks.0.o_bias [6]",
                       "vision.blocks.0.mlp_norm [6]",
                       "vision.blocks.0.mlp_norm_bias [6]",
                       "vision.blocks.0.up [5, 6]",
                       "vision.blocks.0.up_bias [5]",
                       "vision.blocks.0.down [6, 5]",
                       "vision.blocks.0.down_bias [6]",
                       "vision.merger.norm [6]",
                       "vision.merger.norm_bias [6]",
                       "vision.merger.up [24, 24]",
                       "vision.merger.up_bias [24]",
                       "vision.merger.down [7, 24]",
                       "vision.merger.down_bias [7]",
                   }));
}

TEST(VisionTensors, FurtherMergersNormTheChannelsOfATokensPatches) {
  VisionTower tower = kSmall;
  tower.deepstack = 2;
  std::vector<std::string> names;
  for_each_vision_tensor(tower, [&](const TensorId& id, const bridge::Shape& shape) {
    EXPECT_TRUE(is_vision(id));
    if (id.section != Section::kVisionMerger || id.index != 1) return;
    names.push_back(to_string(id) + " " + bridge::shape_text(shape));
    const HfPlace ours = hf_vision_places(tower, id).at(0);
    EXPECT_TRUE(ours.name.starts_with("model.visual.deepstack_merger_list.1.")) << ours.name;
    EXPECT_EQ(ours.rows.count, 0) << ours.name;
  });
  EXPECT_EQ(names, (std::vector<std::string>{
                       "vision.deepstack.1.merger.norm [24]",
                       "vision.deepstack.1.merger.norm_bias [24]",
                       "vision.deepstack.1.merger.up [24, 24]",
                       "vision.deepstack.1.merger.up_bias [24]",
                       "vision.deepstack.1.merger.down [7, 24]",
                       "vision.deepstack.1.merger.down_bias [7]",
                   }));
  const TensorId norm{Role::kMergerNorm, Section::kVisionMerger, 1};
  EXPECT_EQ(megatron_vision_places(tower, norm).at(0).inner, "patch_norm.weight");
}

// Qwen2.5-VL's: transformers' modules on both sides.
TEST(VisionTensors, GatedTowersHaveTheSameNamesInBothViews) {
  VisionTower tower = kSmall;
  tower.gated = true;
  tower.places = 0;
  std::set<std::string> names;
  for_each_vision_tensor(tower, [&](const TensorId& id, const bridge::Shape&) {
    const HfPlace ours = hf_vision_places(tower, id).at(1);
    const MegatronPlace theirs = megatron_vision_places(tower, id).at(0);
    const std::string block = id.section == Section::kVisionBlock ? "blocks.0." : "";
    EXPECT_EQ(ours.name, "visual." + block + theirs.inner);
    EXPECT_EQ(ours.rows.first, theirs.rows.first) << ours.name;
    EXPECT_EQ(ours.rows.count, theirs.rows.count) << ours.name;
    names.insert(ours.name);
  });
  EXPECT_EQ(names, (std::set<std::string>{
                       "visual.patch_embed.proj.weight",
                       "visual.blocks.0.norm1.weight",
                       "visual.blocks.0.attn.qkv.weight",
                       "visual.blocks.0.attn.qkv.bias",
                       "visual.blocks.0.attn.proj.weight",
                       "visual.blocks.0.attn.proj.bias",
                       "visual.blocks.0.norm2.weight",
                       "visual.blocks.0.mlp.gate_proj.weight",
                       "visual.blocks.0.mlp.gate_proj.bias",
                       "visual.blocks.0.mlp.up_proj.weight",
                       "visual.blocks.0.mlp.up_proj.bias",
                       "visual.blocks.0.mlp.down_proj.weight",
                       "visual.blocks.0.mlp.down_proj.bias",
                       "visual.merger.ln_q.weight",
                       "visual.merger.mlp.0.weight",
                       "visual.merger.mlp.0.bias",
                       "visual.merger.mlp.2.weight",
                       "visual.merger.mlp.2.bias",
                   }));
}

// What vision_config lacks has the defaults of the classes, of which the provider tells the kind.
TEST(VisionViews, KindsOfTowers) {
  const Settings config("config.json", bridge::parse_json(R"({"vision_config": {}})"));
  const auto provider = [](const std::string& name) {
    return megatron("{_target_: megatron.bridge.models.qwen_vl." + name + ", vision_config: {}}")
        .value();
  };
  EXPECT_EQ(describe(hf_deepstack_vision_tower(config).value()),
            describe(provider("qwen3_vl_provider.Qwen3VLModelProvider")));
  EXPECT_EQ(hf_deepstack_vision_tower(config)->deepstack, 3);
  EXPECT_EQ(describe(hf_gated_vision_tower(config).value()),
            describe(provider("qwen25_vl_provider.Qwen25VLModelProvider")));
  EXPECT_TRUE(hf_gated_vision_tower(config)->gated);
  EXPECT_EQ(describe(hf_vision_tower(config).value()),
            describe(provider("qwen35_vl_provider.Qwen35VLModelProvider")));
  const Settings more("config.json", bridge::parse_json(R"({"vision_config": {"depth": 1}})"));
  EXPECT_EQ(refusal([&] { hf_deepstack_vision_tower(more); }),
            "config.json: vision_config: the vision tower's deepstack is 3, not in 0 to 1");
}

// Tests all 333 tensors of the 27B release: each element of them is in exactly one canonical
// tensor. Keys that its vision_config lacks have the defaults of transformers' class.
TEST(HfVision, AreThoseOfTheRelease) {
  const std::optional<VisionTower> tower = hf(R"({"vision_config": {"out_hidden_size": 5120}})");
  ASSERT_TRUE(tower);
  std::map<std::string, int64_t> rows_left;
  std::map<std::string, mappings::ListedTensor> listed;
  for (const auto& [name, tensor] : mappings::listed_tensors("qwen3_5_27b.tsv.gz")) {
    if (!name.starts_with("model.visual.")) continue;
    listed.emplace(name, tensor);
    rows_left.emplace(name, tensor.shape.at(0));
  }
  ASSERT_EQ(listed.size(), 333U);
  for_each_vision_tensor(*tower, [&](const TensorId& id, const bridge::Shape& shape) {
    const HfPlace place = hf_vision_places(*tower, id).at(0);
    ASSERT_TRUE(listed.contains(place.name)) << place.name;
    bridge::Shape stored = shape;
    if (place.rows.count > 0) {
      EXPECT_EQ(place.rows.count, shape[0]);
      stored[0] = place.rows.total;
    }
    EXPECT_EQ(listed.at(place.name).shape, stored) << place.name;
    rows_left[place.name] -= shape[0];
  });
  for (const auto& [name, rows] : rows_left) EXPECT_EQ(rows, 0) << name;
}

// Returns the stored rows of a canonical tensor.
std::vector<int64_t> rows_of(const RowPattern& pattern) {
  std::vector<int64_t> rows;
  pattern.for_each_run(0, pattern.count, [&](int64_t stored, int64_t, int64_t count) {
    for (int64_t i = 0; i < count; ++i) rows.push_back(stored + i);
  });
  return rows;
}

// Two heads of three channels. Hugging Face: q0 q1 k0 k1 v0 v1; Megatron-Core: q0 k0 v0 q1 k1 v1.
TEST(VisionViews, RowsOfQueriesKeysAndValues) {
  using Rows = std::vector<int64_t>;
  const std::map<Role, std::pair<Rows, Rows>> expected = {
      {Role::kQ, {{0, 1, 2, 3, 4, 5}, {0, 1, 2, 9, 10, 11}}},
      {Role::kK, {{6, 7, 8, 9, 10, 11}, {3, 4, 5, 12, 13, 14}}},
      {Role::kV, {{12, 13, 14, 15, 16, 17}, {6, 7, 8, 15, 16, 17}}},
  };
  const std::map<Role, Role> bias = {
      {Role::kQ, Role::kQBias}, {Role::kK, Role::kKBias}, {Role::kV, Role::kVBias}};
  for (const auto& [role, rows] : expected) {
    for (const Role each : {role, bias.at(role)}) {
      const TensorId id{each, Section::kVisionBlock, 0};
      const HfPlace ours = hf_vision_places(kSmall, id).at(0);
      const MegatronPlace theirs = megatron_vision_places(kSmall, id).at(0);
      EXPECT_EQ(ours.rows.total, 18);
      EXPECT_EQ(theirs.rows.total, 18);
      EXPECT_EQ(rows_of(ours.rows), rows.first) << to_string(id);
      EXPECT_EQ(rows_of(theirs.rows), rows.second) << to_string(id);
      const bool is_bias = each != role;
      EXPECT_EQ(ours.name,
                std::string("model.visual.blocks.0.attn.qkv.") + (is_bias ? "bias" : "weight"));
      EXPECT_EQ(theirs.inner,
                std::string("self_attention.linear_qkv.") + (is_bias ? "bias" : "weight"));
    }
  }
}

TEST(MegatronVision, NormsOfBothSpecifications) {
  const auto names = [](Role role) {
    std::vector<std::string> found;
    for (const MegatronPlace& place :
         megatron_vision_places(kSmall, {role, Section::kVisionBlock, 0})) {
      found.push_back(place.inner);
    }
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(Role::kAttentionNorm),
            (Names{"self_attention.linear_qkv.layer_norm_weight", "input_layernorm.weight"}));
  EXPECT_EQ(names(Role::kAttentionNormBias),
            (Names{"self_attention.linear_qkv.layer_norm_bias", "input_layernorm.bias"}));
  EXPECT_EQ(names(Role::kMlpNorm),
            (Names{"mlp.linear_fc1.layer_norm_weight", "pre_mlp_layernorm.weight"}));
  EXPECT_EQ(names(Role::kMlpNormBias),
            (Names{"mlp.linear_fc1.layer_norm_bias", "pre_mlp_layernorm.bias"}));
}

TEST(VisionViews, NoTower) {
  EXPECT_FALSE(hf("{}"));
  EXPECT_FALSE(hf(R"({"vision_config": null})"));
  EXPECT_FALSE(megatron("{}"));
  EXPECT_FALSE(megatron("{vision_config: null, use_hf_vision_model: true}"));
  EXPECT_EQ(describe(hf(R"({"vision_config": {}})").value()),
            describe(megatron("{vision_config: {}}").value()));
}

TEST(VisionViews, Refusals) {
  const auto ours = [](const std::string& size) {
    return refusal([&] { hf(R"({"vision_config": {)" + size + "}}"); });
  };
  EXPECT_EQ(ours(R"("depth": 0)"),
            "config.json: vision_config: the vision tower's blocks is 0, not in 1 to 4096");
  EXPECT_EQ(ours(R"("hidden_size": 1048577)"),
            "config.json: vision_config: the vision tower's width is 1048577, not in 1 to 1048576");
  EXPECT_EQ(ours(R"("num_heads": 7)"),
            "config.json: vision_config: the vision tower's 1152 channels do not make 7 equal "
            "heads");
  EXPECT_EQ(ours(R"("patch_size": [16, 16])"),
            "config.json: vision_config: patch_size: not an integer");
  const auto theirs = [](const std::string& model, bridge::Code code) {
    return refusal([&] { megatron(model); }, code);
  };
  EXPECT_EQ(theirs("{vision_config: {num_heads: 7}}", bridge::Code::kBadInput),
            "run_config.yaml: model: vision_config: the vision tower's 1152 channels do not make 7 "
            "equal heads");
  EXPECT_EQ(theirs("{vision_config: {deepstack_visual_indexes: [1]}}", bridge::Code::kUnsupported),
            "run_config.yaml: model: vision_config: deepstack_visual_indexes: a tower with such "
            "mergers is not read here");
  EXPECT_EQ(theirs("{vision_config: {}, use_hf_vision_model: true}", bridge::Code::kUnsupported),
            "run_config.yaml: model: use_hf_vision_model: a tower of transformers' modules is not "
            "read here");
}

}  // namespace
}  // namespace models
