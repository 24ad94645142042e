// Keys as megatron-core spells them: stacked, per layer, singleton, prefixed; and how a tensor is
// found under any of them, once.
#include "bridge/convert/match/key_naming.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

const std::string kFc1 = "mlp.linear_fc1.weight";

class KeyNamingTest : public testing::Test {
 protected:
  KeyNamingTest() {
    decoder_.name = "decoder";
    decoder_.megatron = "decoder.layers.{l}";
    mtp_.name = "mtp";
    mtp_.megatron = "mtp.layers.{l}.transformer_layer";
    gated_.gated = true;
  }

  mappings::LogicalTensor layer_tensor(int64_t layer, const std::string& rest = kFc1) const {
    mappings::LogicalTensor tensor;
    tensor.row = &gated_;
    tensor.name = "decoder.layers." + std::to_string(layer) + "." + rest;
    tensor.family = &decoder_;
    tensor.layer = layer;
    tensor.layer_count = 12;
    return tensor;
  }

  mappings::LogicalTensor expert_tensor(int64_t layer, int64_t expert) const {
    auto tensor =
        layer_tensor(layer, "mlp.experts.experts." + std::to_string(expert) + ".linear_fc1.weight");
    tensor.expert = expert;
    tensor.expert_count = 4;
    return tensor;
  }

  mappings::LogicalTensor global_tensor() const {
    mappings::LogicalTensor tensor;
    tensor.row = &plain_;
    tensor.name = "decoder.final_layernorm.weight";
    return tensor;
  }

  // A checkpoint of BF16 tensors.
  static MegatronFolder checkpoint(std::vector<std::pair<std::string, Shape>> tensors) {
    MegatronFolder folder;
    std::sort(tensors.begin(), tensors.end());
    for (auto& [key, shape] : tensors) {
      folder.metadata.tensors.push_back({key, Dtype::kBF16, shape, {}});
    }
    return folder;
  }

  mappings::Family decoder_;
  mappings::Family mtp_;
  mappings::Row gated_;
  mappings::Row plain_;
};

TEST_F(KeyNamingTest, StackedKeysHaveNoLayer) {
  for (const int64_t layer : {0, 9, 10, 11}) {
    const auto tensor = layer_tensor(layer);
    const WrittenKey key = written_key(tensor, tensor.name, {});
    EXPECT_EQ(key.key, "decoder.layers.mlp.linear_fc1.weight");
    ASSERT_EQ(key.axes.count, 1);
    EXPECT_EQ(key.axes.index[0], layer);
    EXPECT_EQ(key.axes.size[0], 12);
  }
}

TEST_F(KeyNamingTest, PerLayerKeysKeepIt) {
  const auto tensor = layer_tensor(11);
  const WrittenKey key = written_key(tensor, tensor.name, {.per_layer = true, .prefix = "p."});
  EXPECT_EQ(key.key, "p.decoder.layers.11.mlp.linear_fc1.weight");
  EXPECT_EQ(key.axes.count, 0);
}

TEST_F(KeyNamingTest, AGlobalTensorIsNeverStacked) {
  const auto tensor = global_tensor();
  const WrittenKey key = written_key(tensor, tensor.name, {.prefix = "language_model."});
  EXPECT_EQ(key.key, "language_model.decoder.final_layernorm.weight");
  EXPECT_EQ(key.axes.count, 0);
}

TEST_F(KeyNamingTest, AFamilyWithSomethingAfterTheLayerIsNeverStacked) {
  mappings::LogicalTensor tensor = layer_tensor(0);
  tensor.family = &mtp_;
  tensor.name = "mtp.layers.0.transformer_layer.mlp.linear_fc1.weight";
  EXPECT_EQ(written_key(tensor, tensor.name, {}).key, tensor.name);
  EXPECT_EQ(written_key(tensor, tensor.name, {}).axes.count, 0);
}

TEST_F(KeyNamingTest, MtpDepthsAreNeverStacked) {
  mappings::Family family;
  family.megatron = "mtp.layers.{l}";
  family.mtp = true;
  mappings::LogicalTensor tensor = layer_tensor(0);
  tensor.family = &family;
  tensor.name = "mtp.layers.0.enorm.weight";
  EXPECT_EQ(written_key(tensor, tensor.name, {}).key, tensor.name);
}

// The expert's number may be the layer's too.
TEST_F(KeyNamingTest, ExpertsShareAKey) {
  for (const int64_t expert : {0, 2, 3}) {
    const auto tensor = expert_tensor(2, expert);
    const WrittenKey stacked = written_key(tensor, tensor.name, {});
    EXPECT_EQ(stacked.key, "decoder.layers.mlp.experts.experts.linear_fc1.weight");
    ASSERT_EQ(stacked.axes.count, 2);
    EXPECT_EQ(stacked.axes.index, (std::array<int64_t, 2>{2, expert}));
    EXPECT_EQ(stacked.axes.size, (std::array<int64_t, 2>{12, 4}));
    const WrittenKey own = written_key(tensor, tensor.name, {.per_layer = true, .prefix = ""});
    EXPECT_EQ(own.key, "decoder.layers.2.mlp.experts.experts.linear_fc1.weight");
    ASSERT_EQ(own.axes.count, 1);
    EXPECT_EQ(own.axes.index[0], expert);
    EXPECT_EQ(own.axes.size[0], 4);
  }
}

TEST_F(KeyNamingTest, ExtraStateKeysOfExperts) {
  const mappings::ExtraStateModule module{
      "decoder.layers.10.mlp.experts.experts.3.linear_fc2", &decoder_, 10, 12, 3, 4};
  EXPECT_EQ(extra_state_key(module, {}),
            "decoder.layers.mlp.experts.experts.linear_fc2._extra_state/shard_10.3_12.4");
  EXPECT_EQ(extra_state_key(module, {.per_layer = true, .prefix = ""}),
            "decoder.layers.10.mlp.experts.experts.linear_fc2._extra_state/shard_3_4");
}

TEST_F(KeyNamingTest, FindsAnExpertInEveryForm) {
  const std::string rest = "mlp.experts.experts.linear_fc1.weight";
  const auto expert = expert_tensor(3, 2);
  struct Form {
    std::string key;
    Shape shape;
    int64_t begin;
  };
  for (const Form& form :
       {Form{"decoder.layers." + rest, {12, 4, 6, 5}, (3 * 4 + 2) * 60},
        Form{"decoder.layers.3." + rest, {4, 6, 5}, 2 * 60},
        Form{"decoder.layers.3.mlp.experts.experts.2.linear_fc1.weight", {6, 5}, 0}}) {
    const auto found = find_tensor(checkpoint({{form.key, form.shape}}), expert, {});
    ASSERT_TRUE(found) << form.key;
    EXPECT_EQ(found->shape, (Shape{6, 5}));
    EXPECT_EQ(found->stretches[0].begin, form.begin);
    EXPECT_EQ(found->stretches[0].length, 60);
  }
  const std::string apart = "decoder.layers.3.mlp.experts.experts.2.linear_fc1.weight";
  const auto gated =
      find_tensor(checkpoint({{apart + "_v", {3, 5}}, {apart + "_w", {3, 5}}}), expert, {});
  ASSERT_TRUE(gated) << "singleton_local_shards";
  EXPECT_EQ(gated->shape, (Shape{6, 5}));
}

TEST_F(KeyNamingTest, AnotherNumberOfExpertsIsBadInput) {
  const std::string rest = "mlp.experts.experts.linear_fc1.weight";
  for (const int64_t experts : {3, 5}) {
    expect_error(Code::kBadInput,
                 std::to_string(experts) + " experts where the configuration has 4", [&] {
                   find_tensor(checkpoint({{"decoder.layers.3." + rest, {experts, 6, 5}}}),
                               expert_tensor(3, 2), {});
                 });
  }
  expect_error(Code::kBadInput, "0 experts where the configuration has 4", [&] {
    find_tensor(checkpoint({{"decoder.layers." + rest, {12}}}), expert_tensor(3, 2), {});
  });
}

// Shards of a stacked object are numbered by layer; a layer of its own is shard 0 of 1.
TEST_F(KeyNamingTest, ExtraStateKeys) {
  const mappings::ExtraStateModule layer{"decoder.layers.10.mlp.linear_fc2", &decoder_, 10, 12};
  EXPECT_EQ(extra_state_key(layer, {}), "decoder.layers.mlp.linear_fc2._extra_state/shard_10_12");
  EXPECT_EQ(extra_state_key(layer, {.per_layer = true, .prefix = ""}),
            "decoder.layers.10.mlp.linear_fc2._extra_state/shard_0_1");
  EXPECT_EQ(extra_state_key(layer, {.prefix = "language_model."}),
            "language_model.decoder.layers.mlp.linear_fc2._extra_state/shard_10_12");
  const mappings::ExtraStateModule global{"decoder.final_layernorm", nullptr, -1, 0};
  EXPECT_EQ(extra_state_key(global, {}), "decoder.final_layernorm._extra_state/shard_0_1");
}

TEST_F(KeyNamingTest, FindsAStackedLayerAtItsOffset) {
  const MegatronFolder folder = checkpoint({{"a", {1}}, {"decoder.layers." + kFc1, {12, 6, 5}}});
  const auto found = find_tensor(folder, layer_tensor(3), {});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->shape, (Shape{6, 5}));
  ASSERT_EQ(found->stretches.size(), 1U);
  EXPECT_EQ(found->stretches[0].tensor, 1);
  EXPECT_EQ(found->stretches[0].begin, 3 * 6 * 5 * 2);
  EXPECT_EQ(found->stretches[0].length, 6 * 5 * 2);
}

TEST_F(KeyNamingTest, FindsALayerOfItsOwnWhole) {
  const MegatronFolder folder =
      checkpoint({{"decoder.layers.1." + kFc1, {7, 5}}, {"decoder.layers.10." + kFc1, {6, 5}}});
  const auto found = find_tensor(folder, layer_tensor(10), {});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->shape, (Shape{6, 5}));
  EXPECT_EQ(found->stretches[0].begin, 0);
  EXPECT_EQ(found->stretches[0].length, 60);
  EXPECT_FALSE(find_tensor(folder, layer_tensor(0), {}));
}

TEST_F(KeyNamingTest, FindsGateAndUpUnderKeysOfTheirOwn) {
  for (const bool stacked : {false, true}) {
    const std::string base = stacked ? "decoder.layers." + kFc1 : "decoder.layers.3." + kFc1;
    const Shape shape = stacked ? Shape{12, 6, 5} : Shape{6, 5};
    const MegatronFolder folder = checkpoint({{base + "_v", shape}, {base + "_w", shape}});
    const auto found = find_tensor(folder, layer_tensor(3), {});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->shape, (Shape{12, 5}));
    ASSERT_EQ(found->stretches.size(), 2U);
    EXPECT_EQ(found->stretches[0].tensor, 1) << "_w is the gate and comes first";
    EXPECT_EQ(found->stretches[1].tensor, 0);
    EXPECT_EQ(found->stretches[0].begin, stacked ? 3 * 60 : 0);
  }
}

TEST_F(KeyNamingTest, OnlyGatedRowsHaveSingletons) {
  mappings::LogicalTensor tensor = layer_tensor(3);
  tensor.row = &plain_;
  const MegatronFolder folder = checkpoint(
      {{"decoder.layers.3." + kFc1 + "_v", {6, 5}}, {"decoder.layers.3." + kFc1 + "_w", {6, 5}}});
  EXPECT_FALSE(find_tensor(folder, tensor, {}));
}

TEST_F(KeyNamingTest, HalfASingletonIsNotFound) {
  const MegatronFolder folder = checkpoint({{"decoder.layers.3." + kFc1 + "_w", {6, 5}}});
  EXPECT_FALSE(find_tensor(folder, layer_tensor(3), {}));
}

TEST_F(KeyNamingTest, LooksOnlyWhereItIsTold) {
  const MegatronFolder folder = checkpoint({{"decoder.layers.3." + kFc1, {6, 5}}});
  KeyLookup lookup;
  lookup.per_layer = false;
  EXPECT_FALSE(find_tensor(folder, layer_tensor(3), lookup));
  lookup = {};
  lookup.stacked = false;
  EXPECT_TRUE(find_tensor(folder, layer_tensor(3), lookup));
}

TEST_F(KeyNamingTest, FindsAnAliasInEveryForm) {
  mappings::LogicalTensor tensor = layer_tensor(2, "mlp.linear_fc1.layer_norm_weight");
  tensor.row = &plain_;
  tensor.aliases = {"decoder.layers.2.pre_mlp_layernorm.weight"};
  for (const auto& [key, shape] : std::vector<std::pair<std::string, Shape>>{
           {"decoder.layers.pre_mlp_layernorm.weight", {12, 5}},
           {"decoder.layers.2.pre_mlp_layernorm.weight", {5}}}) {
    const auto found = find_tensor(checkpoint({{key, shape}}), tensor, {});
    ASSERT_TRUE(found) << key;
    EXPECT_EQ(found->shape, Shape{5});
  }
}

TEST_F(KeyNamingTest, ThePrefixIsPartOfTheKey) {
  const MegatronFolder folder =
      checkpoint({{"language_model.decoder.final_layernorm.weight", {5}}, {"vision.x", {1}}});
  EXPECT_EQ(detect_prefix(folder), "language_model.");
  EXPECT_TRUE(find_tensor(folder, global_tensor(), {.prefix = "language_model."}));
  EXPECT_FALSE(find_tensor(folder, global_tensor(), {}));
  EXPECT_EQ(detect_prefix(checkpoint({{"decoder.final_layernorm.weight", {5}}})), "");
}

// The same weights twice: which of them to take is not ours to guess.
struct Ambiguity {
  std::string name;
  std::vector<std::pair<std::string, Shape>> tensors;
  std::string message;
};

class KeyRefusalTest : public KeyNamingTest, public testing::WithParamInterface<Ambiguity> {};

TEST_P(KeyRefusalTest, IsBadInput) {
  mappings::LogicalTensor tensor = layer_tensor(3);
  tensor.aliases = {"decoder.layers.3.mlp.other.weight"};
  const MegatronFolder folder = checkpoint(GetParam().tensors);
  expect_error(Code::kBadInput, GetParam().message, [&] { find_tensor(folder, tensor, {}); });
}

const Ambiguity kAmbiguities[] = {
    {"StackedAndPerLayer",
     {{"decoder.layers." + kFc1, {12, 6, 5}}, {"decoder.layers.3." + kFc1, {6, 5}}},
     "decoder.layers.mlp.linear_fc1.weight: the same tensor is there twice, also as "
     "decoder.layers.3.mlp.linear_fc1.weight"},
    {"NameAndAlias",
     {{"decoder.layers.3.mlp.other.weight", {6, 5}}, {"decoder.layers.3." + kFc1, {6, 5}}},
     "decoder.layers.3.mlp.other.weight: the same tensor is there twice, also as "
     "decoder.layers.3.mlp.linear_fc1.weight"},
    {"WholeAndSingleton",
     {{"decoder.layers.3." + kFc1, {12, 5}},
      {"decoder.layers.3." + kFc1 + "_v", {6, 5}},
      {"decoder.layers.3." + kFc1 + "_w", {6, 5}}},
     "is there twice"},
    {"FewerLayers",
     {{"decoder.layers." + kFc1, {11, 6, 5}}},
     "decoder.layers.mlp.linear_fc1.weight: stacked over 11 layers where the configuration has 12"},
    {"MoreLayers", {{"decoder.layers." + kFc1, {13, 6, 5}}}, "stacked over 13 layers"},
    {"StackedScalar", {{"decoder.layers." + kFc1, {}}}, "stacked over 0 layers"},
    {"SingletonShapes",
     {{"decoder.layers.3." + kFc1 + "_v", {6, 5}}, {"decoder.layers.3." + kFc1 + "_w", {6, 4}}},
     "decoder.layers.3.mlp.linear_fc1.weight_w and _v differ: [6, 4] and [6, 5]"},
    {"SingletonScalars",
     {{"decoder.layers.3." + kFc1 + "_v", {}}, {"decoder.layers.3." + kFc1 + "_w", {}}},
     "_w and _v differ"},
};
INSTANTIATE_TEST_SUITE_P(Keys, KeyRefusalTest, testing::ValuesIn(kAmbiguities),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bridge
