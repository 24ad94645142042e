// Arguments of Megatron-LM that say one thing under two names.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/pickle/pickle.h"
#include "models/megatron/config.h"

namespace models {
namespace {

using bridge::PickleNode;

bridge::PickleValue text(std::string value) {
  PickleNode node;
  node.kind = PickleNode::Kind::kString;
  node.text = std::move(value);
  return std::make_shared<PickleNode>(std::move(node));
}

bridge::PickleValue flag(bool value) {
  PickleNode node;
  node.kind = PickleNode::Kind::kBool;
  node.boolean = value;
  return std::make_shared<PickleNode>(std::move(node));
}

Settings settings(std::vector<std::pair<std::string, bool>> arguments) {
  PickleNode node;
  node.kind = PickleNode::Kind::kDict;
  for (auto& [name, value] : arguments) {
    node.items.push_back(text(std::move(name)));
    node.items.push_back(flag(value));
  }
  return megatron_settings(node);
}

// Newer versions build the model from the field; the argument of older ones beside it is stale.
TEST(Arguments, AFieldsOwnNameWins) {
  constexpr const char* kOld = "apply_layernorm_1p";
  constexpr const char* kOwn = "layernorm_zero_centered_gamma";
  for (const bool own : {false, true}) {
    EXPECT_EQ(settings({{kOld, !own}, {kOwn, own}}).flag_or(kOwn, !own), own);
    EXPECT_EQ(settings({{kOwn, own}, {kOld, !own}}).flag_or(kOwn, !own), own);
    EXPECT_EQ(settings({{kOld, own}}).flag_or(kOwn, !own), own);
    EXPECT_EQ(settings({{kOwn, own}}).flag_or(kOwn, !own), own);
  }
}

}  // namespace
}  // namespace models
