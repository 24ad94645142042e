// Tests configurations that are small files but cause endless work: each is refused at once with
// its own message.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ctime>
#include <memory>
#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/pickle/pickle.h"
#include "models/hf/config.h"
#include "models/megatron/config.h"
#include "tests/refusal.h"

namespace models {
namespace {

using bridge::PickleNode;

// Returns the error that a read throws. The read takes a second of processor time, and up to a
// minute in a sanitized build that is hardly optimized; quadratic work takes many.
template <typename Read>
std::string refusal(const Read& read) {
  const std::clock_t start = std::clock();
  const std::string message = bridge::refusal_of(read, bridge::Code::kBadInput);
  EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 120);
  return message;
}

std::string refused_json(const std::string& json) {
  return refusal([&] { hf_model_config(Settings("config.json", bridge::parse_json(json))); });
}

std::string refused_yaml(const std::string& yaml) {
  return refusal([&] { megatron_model_config(megatron_settings(yaml)); });
}

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

constexpr const char* kQwen3 = R"({"model_type": "qwen3", "hidden_size": 8, "vocab_size": 10,
  "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 12, "head_dim": 4, "num_hidden_layers": 4096)";

TEST(HostileConfig, ManyLayersAndLongLists) {
  const std::string list = "[" + repeated("\"full_attention\",", 8191) + "\"full_attention\"]";
  const std::string slides =
      std::string(kQwen3) + R"(, "use_sliding_window": true, "layer_types": )";
  EXPECT_EQ(refused_json(slides + list + "}"), "accepted");
  EXPECT_EQ(refused_json(slides + "[" + repeated("\"full_attention\",", 100000) + "1]}"),
            "config.json: layer_types: a list of 100001, more than 8192");
  std::string keys = kQwen3;
  for (int i = 0; i < 5000; ++i) keys += fmt::format(", \"k{}\": 0", i);
  EXPECT_EQ(refused_json(keys + "}"), "config.json: 5008 settings, more than 4096");
  EXPECT_EQ(refused_json(std::string(kQwen3) +
                         R"(, "rope_scaling": {"rope_type": "linear", "factor": 2, "x": [)" +
                         repeated("[],", 1 << 17) + "[]]}}"),
            "accepted");
}

TEST(HostileConfig, NumbersThatAreNoSizes) {
  const auto with = [](const std::string& more) {
    return refused_json(
        R"({"model_type": "qwen3_next", "hidden_size": 8, "vocab_size": 10, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 12,
            "full_attention_interval": 1, "num_experts": 0, )" +
        more + "}");
  };
  EXPECT_EQ(with(R"("head_dim": 8, "partial_rotary_factor": 0.5)"), "accepted");
  EXPECT_EQ(with(R"("head_dim": 8, "partial_rotary_factor": 1e300)"),
            "config.json: the number of rotated channels is 0, not in 1 to 16777216");
  EXPECT_EQ(with(R"("head_dim": 9223372036854775807, "partial_rotary_factor": 1)"),
            "config.json: the size of a head is 9223372036854775807, not in 1 to 16777216");
}

TEST(HostileConfig, NumbersOfDeepseekV4) {
  const auto with = [](int64_t steps, const std::string& ratio) {
    return refused_json(fmt::format(
        R"({{"model_type": "deepseek_v4", "hidden_size": 8, "vocab_size": 10, "head_dim": 8,
             "num_attention_heads": 2, "qk_rope_head_dim": 4, "q_lora_rank": 4, "o_groups": 1,
             "o_lora_rank": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "hc_mult": 2,
             "moe_intermediate_size": 4, "sliding_window": 4, "num_hidden_layers": 1,
             "hc_sinkhorn_iters": {}, "compress_ratios": [{}]}})",
        steps, ratio));
  };
  EXPECT_EQ(with(20, "0"), "accepted");
  EXPECT_EQ(with(16777216, "0"),
            "config.json: the number of Sinkhorn steps is 16777216, not in 1 to 1024");
  EXPECT_EQ(with(20, "18446744073709551615"),
            "config.json: compress_ratios: not a list of integers");
}

TEST(HostileConfig, YamlThatGrows) {
  // A text of 100 kB, repeated ten thousand times.
  EXPECT_EQ(refused_yaml("a: &a " + std::string(100000, 'x') + "\nmodel: {x: [*a" +
                         repeated(", *a", 9999) + "]}\n"),
            "run_config.yaml: too many values");
  EXPECT_EQ(refused_yaml("model: {x: [" + repeated("0, ", 300000) + "0]}"),
            "run_config.yaml: too many values");
  std::string keys = "model:\n";
  for (int i = 0; i < 50000; ++i) keys += fmt::format("  k{}: 0\n", i);
  EXPECT_EQ(refused_yaml(keys), "run_config.yaml: model: 50000 settings, more than 4096");
  EXPECT_EQ(refused_yaml("model: {x: " + repeated("[", 20) + repeated("]", 20) + "}"),
            "run_config.yaml: nested too deeply");
  for (const char* const open : {"[", "{", "- ", "? ", "{x: [", "&a [", "!t "}) {
    EXPECT_NE(refused_yaml("model: " + repeated(open, 100000)), "accepted") << open;
  }
}

bridge::PickleValue text(std::string value) {
  PickleNode node;
  node.kind = PickleNode::Kind::kString;
  node.text = std::move(value);
  return std::make_shared<PickleNode>(std::move(node));
}

bridge::PickleValue several(PickleNode::Kind kind, std::vector<bridge::PickleValue> items) {
  PickleNode node;
  node.kind = kind;
  node.items = std::move(items);
  return std::make_shared<PickleNode>(std::move(node));
}

std::string refused_arguments(std::vector<bridge::PickleValue> pairs) {
  const bridge::PickleValue args = several(PickleNode::Kind::kDict, std::move(pairs));
  return refusal([&] { megatron_settings(*args); });
}

TEST(HostileConfig, ArgumentsThatGrow) {
  bridge::PickleValue tree = text("x");
  for (int level = 0; level < 20; ++level) {
    tree = several(PickleNode::Kind::kList, std::vector<bridge::PickleValue>(10, tree));
  }
  EXPECT_EQ(refused_arguments({text("a"), tree}), "common state: too many values");
  const auto many = several(PickleNode::Kind::kTuple,
                            std::vector<bridge::PickleValue>(1000, text(std::string(100000, 'x'))));
  EXPECT_EQ(refused_arguments({text("a"), many}), "common state: too many values");
  std::vector<bridge::PickleValue> pairs;
  for (int i = 0; i < 5000; ++i) {
    pairs.push_back(text(fmt::format("k{}", i)));
    pairs.push_back(text("x"));
  }
  EXPECT_EQ(refused_arguments(pairs), "common state: too many args");
}

}  // namespace
}  // namespace models
