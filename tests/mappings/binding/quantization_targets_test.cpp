// Which modules a configuration quantizes: what match_named_modules and match_targets of
// compressed-tensors 0.20.1 said of each of these modules, as torch.nn.Linear.
#include "mappings/binding/quantization_targets.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

struct Case {
  std::string groups;
  std::string ignore;
  std::vector<int32_t> expected;  // of kModules; -1: none
};

const std::vector<std::string> kModules = {
    "model.layers.0.self_attn.q_proj",        "model.layers.0.mlp.up_proj",
    "model.layers.1.mlp.experts.3.down_proj", "model.layers.1.mlp.gate",
    "model.layers.10.self_attn.o_proj",       "lm_head"};

TEST(QuantizationTargets, AreThoseOfCompressedTensors) {
  const std::vector<Case> kCases = {
      {R"j({"group_0": {"targets": ["Linear"]}})j", R"j(["lm_head"])j", {0, 0, 0, 0, 0, -1}},
      {R"j({"group_0": {"targets": ["Linear"]}})j",
       R"j(["lm_head", "re:.*mlp.gate$"])j",
       {0, 0, 0, -1, 0, -1}},
      {R"j({"group_0": {"targets": ["re:.*self_attn.*"]}, "group_1": {"targets": ["re:.*mlp.*"]}})j",
       R"j([])j",
       {0, 1, 1, 1, 0, -1}},
      {R"j({"group_0": {"targets": ["Linear"]}, "group_1": {"targets": ["re:.*experts.*"]}, "group_2": {"targets": ["model.layers.0.mlp.up_proj"]}})j",
       R"j(["lm_head"])j",
       {0, 2, 1, 0, 0, -1}},
      {R"j({"b": {"targets": ["re:model.*"]}, "a": {"targets": ["re:.*proj", "Linear"]}})j",
       R"j(null)j",
       {1, 1, 1, 0, 1, 1}},
      {R"j({"first": {"targets": ["Linear", "re:.*self_attn"]}, "second": {"targets": ["re:.*self_attn"]}})j",
       R"j(["re:self_attn"])j",
       {1, 0, 0, 0, 1, 0}},
      {R"j({"group_0": {"targets": ["Linear"]}})j", R"j(["Linear"])j", {-1, -1, -1, -1, -1, -1}},
      {R"j({"group_0": {"targets": ["model.layers.1"]}})j",
       R"j(["model"])j",
       {-1, -1, -1, -1, -1, -1}},
      {R"j({"group_0": {"targets": ["re:model\\.layers\\.1\\..*", "Embedding"]}})j",
       R"j(["re:.*gate"])j",
       {-1, -1, 0, -1, -1, -1}},
  };
  for (const Case& each : kCases) {
    const QuantizationTargets targets(Json::parse(each.groups), Json::parse(each.ignore));
    for (size_t i = 0; i < kModules.size(); ++i) {
      EXPECT_EQ(targets.of(kModules[i]).group, each.expected[i])
          << kModules[i] << " in " << each.groups << " without " << each.ignore;
    }
  }
}

// Found by quantization_targets_fuzz: a module whose name is the text of an expression.
TEST(QuantizationTargets, AnExpressionIsNobodysName) {
  const QuantizationTargets targets(Json::parse(R"({"group_0": {"targets": ["re:a+", "Linear"]}})"),
                                    Json::parse(R"(["re:b+"])"));
  EXPECT_EQ(targets.of("re:b+").group, 0);
  EXPECT_EQ(targets.of("re:a+").why, "config_groups.group_0 has the target 'Linear'");
}

TEST(QuantizationTargets, SayWhy) {
  const QuantizationTargets targets(
      Json::parse(R"({"group_0": {"targets": ["re:.*mlp.*"]}, "own": {"targets": ["Linear"]}})"),
      Json::parse(R"(["lm_head", "re:.*gate$"])"));
  EXPECT_EQ(targets.of("a.mlp.up").why, "config_groups.group_0 has the target 're:.*mlp.*'");
  EXPECT_EQ(targets.of("a.attn").why, "config_groups.own has the target 'Linear'");
  EXPECT_EQ(targets.of("a.mlp.gate").why, "ignore has 're:.*gate$'");
  EXPECT_EQ(targets.of("lm_head").why, "ignore has 'lm_head'");
  const QuantizationTargets few(Json::parse(R"({"group_0": {"targets": ["a"]}})"), nullptr);
  EXPECT_EQ(few.of("b").why, "no target of config_groups matches it");
}

void expect_refused(const std::string& groups, const std::string& ignore, bridge::Code code,
                    const std::string& message) {
  try {
    const QuantizationTargets targets(Json::parse(groups), Json::parse(ignore));
    ADD_FAILURE() << message;
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
  }
}

TEST(QuantizationTargets, RefuseWhatIsNone) {
  using enum bridge::Code;
  expect_refused(R"({"FP8": ["Linear"]})", "[]", kUnsupported, "FP8 is the name of a preset");
  expect_refused(R"({"group_0": {}})", "[]", kBadInput, "group_0 has no list of targets");
  expect_refused(R"({"group_0": {"targets": [1]}})", "[]", kBadInput, "no text");
  expect_refused(R"({"group_0": {"targets": []}})", R"("lm_head")", kBadInput, "ignore is no list");
  expect_refused("[]", "[]", kBadInput, "no object");
  expect_refused(R"({"group_0": {"targets": ["re:(a"]}})", "[]", kBadInput, "'(a'");
}

// Each takes memory that --memory does not count.
TEST(QuantizationTargets, LimitTheirExpressions) {
  Json ignore = Json::array();
  for (size_t i = 0; i < bridge::PythonRegex::kMostInList; ++i) {
    ignore.push_back("re:" + std::to_string(i));
  }
  const QuantizationTargets most(Json::object(), ignore);
  EXPECT_EQ(most.of("255").why, "ignore has 're:2'");
  ignore.push_back("re:a");
  expect_refused("{}", ignore.dump(), bridge::Code::kBadInput, "more than 256 regular expressions");
}

}  // namespace
}  // namespace mappings
