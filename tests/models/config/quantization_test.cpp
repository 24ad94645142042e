// quantization_config as compressed-tensors, transformers and ModelOpt write it, and the names of
// what it describes.
#include "models/hf/quantization.h"

#include <gtest/gtest.h>

#include <string>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"

namespace models {
namespace {

std::optional<HfBlock> block_of(const std::string& quantization) {
  return hf_block(Settings("config.json",
                           bridge::parse_json(R"({"quantization_config": )" + quantization + "}")));
}

std::string compressed(const std::string& weights) {
  return R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": )" +
         weights + "}}}";
}

std::string refusal(const std::string& quantization) {
  try {
    block_of(quantization);
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), bridge::Code::kUnsupported);
    return error.message();
  }
  return "accepted";
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
    const std::optional<HfBlock> block = block_of(known.quantization);
    ASSERT_TRUE(block) << known.quantization;
    EXPECT_EQ(block->rows, known.block.rows) << known.quantization;
    EXPECT_EQ(block->columns, known.block.columns) << known.quantization;
  }
  EXPECT_FALSE(block_of("null"));
  EXPECT_FALSE(block_of(compressed("null")));  // activations alone
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
