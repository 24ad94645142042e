// Regular expressions of Python's re: what matches is what re.match of Python 3.11 said, of every
// pattern and every text here.
#include "bridge/io/base/python_regex.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

const std::vector<std::string> kTexts = {"model.layers.0.self_attn.q_proj",
                                         "model.layers.10.mlp.gate",
                                         "model.layers.3.mlp.experts.7.up_proj",
                                         "model.layers.3.mlp.shared_experts.gate_proj",
                                         "lm_head",
                                         "visual.blocks.0.attn.qkv",
                                         "model.visual.x",
                                         "abcd",
                                         "]a^-x",
                                         "aab",
                                         "a{x}",
                                         "",
                                         "12.5",
                                         "layers.14.mlp",
                                         "model\n",
                                         "mtp.fc"};

struct Matches {
  std::string pattern;
  std::set<std::string> texts;  // those of kTexts
};

TEST(PythonRegex, MatchesWhatPythonMatches) {
  const std::vector<Matches> kCases = {
      {R"(.*self_attn.*)", {"model.layers.0.self_attn.q_proj"}},
      {R"(.*mlp\.(gate|up|gate_up|down)_proj.*)", {}},
      {R"(.*mlp.gate$)", {"model.layers.10.mlp.gate"}},
      {R"(model\.layers\.(?!0\b)\d+\.mlp)",
       {"model.layers.10.mlp.gate", "model.layers.3.mlp.experts.7.up_proj",
        "model.layers.3.mlp.shared_experts.gate_proj"}},
      {R"(^(?!.*experts).*$)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate", "lm_head",
        "visual.blocks.0.attn.qkv", "model.visual.x", "abcd", "]a^-x", "aab", "a{x}", "", "12.5",
        "layers.14.mlp", "model\n", "mtp.fc"}},
      {R"(^model\.layers\.[0-9]{1,2}\.self_attn\.[qkvo]_proj$)",
       {"model.layers.0.self_attn.q_proj"}},
      {R"(layers.(\d|1[0-5]).mlp)", {"layers.14.mlp"}},
      {R"(visual.*)", {"visual.blocks.0.attn.qkv"}},
      {R"(.*lm_head)", {"lm_head"}},
      {R"(model\.layers\.\d+?\.mlp\.experts\.[^.]+\.(?P<which>up|down)_proj\Z)",
       {"model.layers.3.mlp.experts.7.up_proj"}},
      {R"((?:a|ab)(?:c|bcd)(?:d*)$)", {"abcd"}},
      {R"([]a-c^-]+x)", {"]a^-x"}},
      {R"([^]x]{2,}$)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate", "lm_head",
        "visual.blocks.0.attn.qkv", "abcd", "aab", "12.5", "layers.14.mlp", "model\n", "mtp.fc"}},
      {R"(a{0,2}b)", {"abcd", "aab"}},
      {R"(a{2}b)", {"aab"}},
      {R"(a{x})", {"a{x}"}},
      {R"(.*(?=.*gate)(?!.*shared).*gate$)", {"model.layers.10.mlp.gate"}},
      {R"(\w+\.\w+$)", {"12.5", "mtp.fc"}},
      {R"(\Amodel\b)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate",
        "model.layers.3.mlp.experts.7.up_proj", "model.layers.3.mlp.shared_experts.gate_proj",
        "model.visual.x", "model\n"}},
      {R"(mo(d|e)*l)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate",
        "model.layers.3.mlp.experts.7.up_proj", "model.layers.3.mlp.shared_experts.gate_proj",
        "model.visual.x", "model\n"}},
      {R"([\d.]+)", {"12.5"}},
      {R"([\w-]+$)", {"lm_head", "abcd", "aab", "model\n"}},
      {R"()",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate",
        "model.layers.3.mlp.experts.7.up_proj", "model.layers.3.mlp.shared_experts.gate_proj",
        "lm_head", "visual.blocks.0.attn.qkv", "model.visual.x", "abcd", "]a^-x", "aab", "a{x}", "",
        "12.5", "layers.14.mlp", "model\n", "mtp.fc"}},
      {R"(|x)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate",
        "model.layers.3.mlp.experts.7.up_proj", "model.layers.3.mlp.shared_experts.gate_proj",
        "lm_head", "visual.blocks.0.attn.qkv", "model.visual.x", "abcd", "]a^-x", "aab", "a{x}", "",
        "12.5", "layers.14.mlp", "model\n", "mtp.fc"}},
      {R"(x|)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate",
        "model.layers.3.mlp.experts.7.up_proj", "model.layers.3.mlp.shared_experts.gate_proj",
        "lm_head", "visual.blocks.0.attn.qkv", "model.visual.x", "abcd", "]a^-x", "aab", "a{x}", "",
        "12.5", "layers.14.mlp", "model\n", "mtp.fc"}},
      {R"(\S+\s?)",
       {"model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate",
        "model.layers.3.mlp.experts.7.up_proj", "model.layers.3.mlp.shared_experts.gate_proj",
        "lm_head", "visual.blocks.0.attn.qkv", "model.visual.x", "abcd", "]a^-x", "aab", "a{x}",
        "12.5", "layers.14.mlp", "model\n", "mtp.fc"}},
  };
  for (const Matches& each : kCases) {
    const PythonRegex regex(each.pattern);
    for (const std::string& text : kTexts) {
      EXPECT_EQ(regex.matches_start_of(text), each.texts.contains(text))
          << each.pattern << " on " << text;
    }
  }
}

Code refusal(const std::string& pattern) {
  try {
    const PythonRegex regex(pattern);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << pattern;
  return Code::kInternal;
}

TEST(PythonRegex, RefusesWhatItDoesNotRead) {
  EXPECT_EQ(refusal("a{,2}b"), Code::kUnsupported);
}

TEST(PythonRegex, RefusesWhatIsNoPattern) {
  for (const char* pattern :
       {"(a", "a)", "[a", "*a", "[z-a]", "a{3,2}", "a\\", "(?P<", "(?P=name)"}) {
    EXPECT_EQ(refusal(pattern), Code::kBadInput) << pattern;
  }
  EXPECT_EQ(refusal(std::string(1000, '(')), Code::kBadInput);
  EXPECT_EQ(refusal(std::string(5000, 'a')), Code::kBadInput);
}

TEST(PythonRegex, AMatchCanBeRefused) {
  const auto refusal_on = [](const std::string& pattern, const std::string& text) {
    try {
      PythonRegex(pattern).matches_start_of(text);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << pattern;
    return Code::kInternal;
  };
  EXPECT_EQ(refusal_on(R"((a)\1)", "aa"), Code::kUnsupported);
  EXPECT_EQ(refusal_on("a", "\xff"), Code::kBadInput);
}

// What backtracking would never finish.
TEST(PythonRegex, TakesBoundedTime) {
  EXPECT_FALSE(PythonRegex("(a+)+$").matches_start_of(std::string(200, 'a') + "b"));
  EXPECT_FALSE(PythonRegex("((a*)*)*b").matches_start_of(std::string(200, 'a')));
  EXPECT_TRUE(PythonRegex("(a|a|aa)*$").matches_start_of(std::string(500, 'a')));
  try {
    PythonRegex("(?:(?=a*b|a*)a)*$").matches_start_of(std::string(20'000, 'a') + "c");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kBadInput);
    EXPECT_NE(error.message().find("takes too long"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace bridge
