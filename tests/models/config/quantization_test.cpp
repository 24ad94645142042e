// quantization_config as compressed-tensors, transformers and ModelOpt write it, and the names of
// what it describes.
#include "models/hf/quantization.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "tests/refusal.h"

namespace models {
namespace {

HfQuantization quantization_of(const std::string& quantization) {
  return HfQuantization(Settings(
      "config.json", bridge::parse_json(R"({"quantization_config": )" + quantization + "}")));
}

std::string compressed(const std::string& weights) {
  return R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {
      "targets": ["Linear"], "weights": )" +
         weights + "}}}";
}

bridge::HfTensor stored(const std::string& name, bridge::Dtype dtype) {
  bridge::HfTensor tensor{};
  tensor.name = name;
  tensor.dtype = dtype;
  tensor.shape = {6, 64};
  return tensor;
}

const bridge::HfTensor kFp8 = stored("a.q_proj.weight", bridge::Dtype::kF8E4M3);
const bridge::HfTensor kInt4 = stored("a.q_proj.weight_packed", bridge::Dtype::kI32);
const bridge::HfTensor kPlain = stored("a.q_proj.weight", bridge::Dtype::kBF16);

std::string refusal(const std::string& quantization) {
  return bridge::refusal_of([&] { quantization_of(quantization); }, bridge::Code::kUnsupported);
}

constexpr int64_t kAll = HfBlock::kAll;

struct Known {
  std::string quantization;
  HfBlock block;
};

TEST(HfQuantization, WhatSharesAScale) {
  const Known kKnown[] = {
      {compressed(R"({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32,
                      "symmetric": true, "actorder": null})"),
       {1, 32}},
      {compressed(R"({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128,
                      "actorder": "weight"})"),
       {1, 128}},
      {compressed(R"({"num_bits": 8, "type": "float", "strategy": "channel"})"), {1, kAll}},
      {compressed(R"({"num_bits": 8, "type": "float", "strategy": "block",
                      "block_structure": [128, 64]})"),
       {128, 64}},
      {compressed(R"({"num_bits": 8, "type": "float", "strategy": "tensor"})"), {kAll, kAll}},
      {R"({"quant_method": "fp8", "weight_block_size": null})", {kAll, kAll}},
      {R"({"quant_method": "fp8", "weight_block_size": [128, 64]})", {128, 64}},
      {R"({"quant_method": "modelopt", "quant_algo": "FP8"})", {kAll, kAll}},
  };
  for (const Known& known : kKnown) {
    const bool is_int4 = known.quantization.find(R"("int")") != std::string::npos;
    const HfBlock block = quantization_of(known.quantization).block_of(is_int4 ? kInt4 : kFp8);
    EXPECT_EQ(block.rows, known.block.rows) << known.quantization;
    EXPECT_EQ(block.columns, known.block.columns) << known.quantization;
  }
  EXPECT_FALSE(quantization_of("null").any());
  EXPECT_FALSE(quantization_of(compressed("null")).any());  // activations alone
  EXPECT_EQ((HfBlock{1, kAll}.in({6, 64}).columns), 64);
  EXPECT_EQ((HfBlock{kAll, 32}.in({6, 64}).rows), 6);
}

TEST(HfQuantization, OthersAreRefusedByName) {
  EXPECT_NE(refusal(compressed(R"({"num_bits": 4, "group_size": 32, "symmetric": false})"))
                .find("symmetric"),
            std::string::npos);
  EXPECT_NE(refusal(compressed(R"({"num_bits": 4, "group_size": 32, "actorder": "group"})"))
                .find("actorder"),
            std::string::npos);
  EXPECT_NE(refusal(compressed(R"({"num_bits": 8, "type": "int"})")).find("INT4 by group"),
            std::string::npos);
  EXPECT_NE(refusal(compressed(R"({"num_bits": 8, "type": "float", "strategy": "token"})"))
                .find("FP8 by row, block or tensor"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"quant_method": "compressed-tensors"})").find("config_groups"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"quant_method": "gptq", "bits": 4})").find("weight_block_size"),
            std::string::npos);
}

// INT4 of MLPs, FP8 by row of attention but one layer, nothing of another.
constexpr char kGroups[] = R"({"quant_method": "compressed-tensors",
    "ignore": ["lm_head", "re:.*layers\\.1\\..*"], "config_groups": {
    "attention": {"targets": ["re:.*self_attn.*"],
                  "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}},
    "one": {"targets": ["layers.0.self_attn.o_proj"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}},
    "rest": {"targets": ["Linear"],
             "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}}}})";

TEST(HfQuantization, GroupsHaveTheirTargets) {
  using enum bridge::Dtype;
  const HfQuantization groups = quantization_of(kGroups);
  EXPECT_EQ(groups.block_of(stored("layers.0.self_attn.q_proj.weight", kF8E4M3)).rows, 1);
  EXPECT_EQ(groups.block_of(stored("layers.0.self_attn.o_proj.weight", kF8E4M3)).rows, kAll);
  EXPECT_EQ(groups.block_of(stored("layers.0.mlp.up_proj.weight_packed", kI32)).columns, 32);
  EXPECT_THROW(groups.block_of(stored("layers.1.self_attn.q_proj.weight", kF8E4M3)), bridge::Error);
}

TEST(HfQuantization, ContradictionsAreBadInput) {
  using enum bridge::Dtype;
  const HfQuantization groups = quantization_of(kGroups);
  const auto said = [&](const std::string& name, bridge::Dtype dtype) -> std::string {
    try {
      groups.check_linear(stored(name, dtype));
      return "";
    } catch (const bridge::Error& error) {
      EXPECT_EQ(error.code(), bridge::Code::kBadInput);
      return error.message();
    }
  };
  EXPECT_EQ(said("layers.0.self_attn.q_proj.weight", kF8E4M3), "");
  EXPECT_EQ(said("layers.0.mlp.up_proj.weight_packed", kI32), "");
  EXPECT_EQ(said("layers.1.mlp.up_proj.weight", kBF16), "");
  EXPECT_EQ(said("lm_head.weight", kBF16), "");
  EXPECT_EQ(said("layers.0.self_attn.q_proj.weight", kBF16),
            "BF16, but quantization_config says FP8: 're:.*self_attn.*' is a target of attention");
  EXPECT_EQ(said("layers.0.mlp.up_proj.weight", kF8E4M3),
            "F8_E4M3, but quantization_config says INT4: 'Linear' is a target of rest");
  EXPECT_EQ(said("lm_head.weight", kF8E4M3),
            "F8_E4M3, but quantization_config says not quantized: 'lm_head' is ignored");
  // Where the configuration names no layers, the files alone say it.
  quantization_of(R"({"quant_method": "fp8"})").check_linear(kPlain);
}

// Each takes memory that --memory does not count.
TEST(HfQuantization, LimitsItsExpressions) {
  std::string ignored = R"("re:0")";
  for (int i = 1; i <= 512; ++i) ignored += fmt::format(R"(, "re:{}")", i);
  const std::string message = bridge::refusal_of(
      [&] {
        quantization_of(R"({"quant_method": "compressed-tensors", "ignore": [)" + ignored +
                        R"(], "config_groups": {"all": {"targets": ["Linear"]}}})");
      },
      bridge::Code::kBadInput);
  EXPECT_NE(message.find("more than 512 regular expressions"), std::string::npos) << message;
}

TEST(HfQuantization, NamesOfAWeight) {
  for (const char* stored :
       {"a.k_proj.weight_packed", "a.k_proj.weight_scale", "a.k_proj.weight_scale_inv",
        "a.k_proj.weight_shape", "a.k_proj.input_scale", "a.k_proj.activation_scale",
        "a.k_proj.k_scale", "a.k_proj.weight"}) {
    EXPECT_EQ(hf_weight_name(stored), "a.k_proj.weight") << stored;
  }
  EXPECT_EQ(hf_weight_name("a.k_proj.bias"), "a.k_proj.bias");
}

}  // namespace
}  // namespace models
