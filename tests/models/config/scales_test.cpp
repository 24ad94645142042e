// The scales of quantized tensors in a folder, found by name and held against shapes, and the
// shapes of what is packed. Expected values are those of the formats in quantization.h.
#include "models/hf/scales.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"

namespace models {
namespace {

using bridge::Dtype;
using bridge::HfTensor;

constexpr const char* kBlocks = R"({"quantization_config": {"weight_block_size": [128, 128]}})";
constexpr const char* kRows = R"({"quantization_config": {"quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float",
                                              "strategy": "channel"}}}}})";
constexpr const char* kGroups = R"({"quantization_config": {"quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "group",
                                              "group_size": 32}}}}})";
constexpr const char* kMxfp4 = R"({"quantization_config": {"quant_method": "mxfp4"}})";

bridge::HfFolder folder_of(std::vector<HfTensor> tensors) {
  bridge::HfFolder folder;
  folder.tensors = std::move(tensors);
  std::sort(folder.tensors.begin(), folder.tensors.end(),
            [](const HfTensor& a, const HfTensor& b) { return a.name < b.name; });
  return folder;
}

HfTensor tensor(std::string name, Dtype dtype, bridge::Shape shape) {
  return {std::move(name), dtype, std::move(shape), 0, 0, 0};
}

struct Pair {
  HfTensor weight;
  HfTensor scales;
  std::string config;
};

// The name of the scales, or the error.
std::string found(const Pair& pair) {
  const bridge::HfFolder folder = folder_of({pair.weight, pair.scales});
  const HfScales scales(folder, Settings("config.json", bridge::parse_json(pair.config)));
  try {
    return scales.of(*folder.find(pair.weight.name)).name;
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), bridge::Code::kBadInput);
    return error.message();
  }
}

TEST(HfScales, OfEveryKind) {
  const Pair kPairs[] = {
      {tensor("a.weight", Dtype::kF8E4M3, {200, 300}),
       tensor("a.weight_scale_inv", Dtype::kF32, {2, 3}), kBlocks},
      {tensor("a.weight", Dtype::kF8E4M3, {200, 300}), tensor("a.scale", Dtype::kF8E8M0, {2, 3}),
       kBlocks},
      {tensor("a.weight", Dtype::kF8E4M3, {6, 64}), tensor("a.weight_scale", Dtype::kBF16, {6, 1}),
       kRows},
      {tensor("a.weight", Dtype::kI8, {6, 32}), tensor("a.scale", Dtype::kF8E8M0, {6, 2}), "{}"},
      {tensor("a.weight_packed", Dtype::kI32, {6, 8}),
       tensor("a.weight_scale", Dtype::kBF16, {6, 2}), kGroups},
      {tensor("a_blocks", Dtype::kU8, {4, 6, 2, 16}), tensor("a_scales", Dtype::kU8, {4, 6, 2}),
       kMxfp4},
  };
  for (const Pair& pair : kPairs) EXPECT_EQ(found(pair), pair.scales.name);
}

TEST(HfScales, WhatDoesNotFitIsRefused) {
  const HfTensor weight = tensor("a.weight", Dtype::kF8E4M3, {200, 300});
  EXPECT_EQ(found({weight, tensor("b.scale", Dtype::kF32, {2, 3}), kBlocks}),
            "quantized, but its scales are missing");
  EXPECT_EQ(found({weight, tensor("a.scale", Dtype::kF32, {2, 3}), "{}"}),
            "quantized, but config.json has no quantization_config");
  EXPECT_EQ(found({weight, tensor("a.scale", Dtype::kF32, {3, 2}), kBlocks}),
            "shape [200, 300] in blocks of 128 x 128 with scales of shape [3, 2]");
  EXPECT_EQ(found({tensor("a.weight", Dtype::kF8E4M3, {4, 200, 300}),
                   tensor("a.scale", Dtype::kF32, {2, 3}), kBlocks}),
            "quantized, but its shape is [4, 200, 300]");
  const HfTensor blocks = tensor("a_blocks", Dtype::kU8, {4, 6, 2, 16});
  EXPECT_EQ(found({blocks, tensor("a_scales", Dtype::kU8, {4, 6, 2}), "{}"}),
            "quantized, but config.json does not say mxfp4");
  EXPECT_EQ(found({blocks, tensor("a_scales", Dtype::kBF16, {4, 6, 2}), kMxfp4}),
            "shape [4, 6, 2, 16] with scales BF16 of shape [4, 6, 2]");
}

TEST(HfScales, BlocksOfAMatrix) {
  const bridge::HfFolder folder = folder_of({tensor("a.weight", Dtype::kF8E4M3, {200, 300})});
  const HfScales scales(folder, Settings("config.json", bridge::parse_json(kBlocks)));
  EXPECT_EQ(scales.grid_of(folder.tensors[0]), (bridge::Shape{2, 3}));  // the last ones partial
  const HfTensor fp4 = tensor("b.weight", Dtype::kI8, {6, 32});         // of 64 columns
  EXPECT_EQ(scales.block_in(fp4).rows, 1);
  EXPECT_EQ(scales.block_in(fp4).columns, 32);
  EXPECT_EQ(scales.grid_of(fp4), (bridge::Shape{6, 2}));
}

TEST(HfQuantization, ShapesOfElements) {
  EXPECT_EQ(hf_element_shape(tensor("a.weight", Dtype::kBF16, {6, 32})), (bridge::Shape{6, 32}));
  EXPECT_EQ(hf_element_shape(tensor("a.weight", Dtype::kI8, {6, 32})), (bridge::Shape{6, 64}));
  EXPECT_EQ(hf_element_shape(tensor("a.weight_packed", Dtype::kI32, {6, 8})),
            (bridge::Shape{6, 64}));
  EXPECT_EQ(hf_element_shape(tensor("a_blocks", Dtype::kU8, {4, 6, 2, 16})),
            (bridge::Shape{4, 6, 64}));
  EXPECT_EQ(hf_element_shape(tensor("a", Dtype::kI8, {})), bridge::Shape{});
}

}  // namespace
}  // namespace models
