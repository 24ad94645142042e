// What a table says about one tensor, dropped name or module once the table is bound to a
// configuration: names, shapes and numbers are concrete, and no expression is left to evaluate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/number/dtype.h"
#include "mappings/table/table.h"

namespace mappings {

struct HfTensorSpec {
  std::string name;
  bridge::Shape shape;
};

// One logical Megatron tensor; all its values are concrete.
struct LogicalTensor {
  const Row* row = nullptr;
  // "decoder.layers.3.mlp.linear_fc1.weight", in the spelling of the requested spec.
  std::string name;
  std::vector<std::string> aliases;  // concrete; they include the other spec's spelling
  std::vector<HfTensorSpec> hf;
  OpNumbers numbers;               // split has the rows of each part of Row::split, equal or not
  std::vector<int64_t> chunks;     // as in Row
  const Family* family = nullptr;  // nullptr: not per layer
  int64_t layer = -1;              // index in the family
  int64_t layer_count = 0;
  int64_t expert = -1;  // -1: not per expert
  int64_t expert_count = 0;
};

struct DroppedTensor {
  const Drop* drop = nullptr;
  std::string name;
  std::string equals;
};

struct ExtraStateModule {
  std::string module;              // "decoder.layers.3.mlp.linear_fc1"
  const Family* family = nullptr;  // nullptr: not per layer
  int64_t layer = -1;
  int64_t layer_count = 0;
  int64_t expert = -1;  // -1: not per expert
  int64_t expert_count = 0;
  const ExtraState* state = nullptr;
};

// A Quantization that the configuration has, with its block size known.
struct BlockScheme {
  const Quantization* quantization = nullptr;
  int64_t block_rows = 0;
  int64_t block_columns = 0;
  bool power_of_two = false;
  // The group of QuantizationTargets whose weights are stored so; -1: any weight may be.
  int32_t group = -1;

  // Whether a tensor of this shape has blocks: a matrix, or a stack of matrices if blocks are one
  // row high.
  bool fits(const bridge::Shape& weight_shape) const;
  // The HF name of the scales; nullopt if the weight's name lacks the suffix.
  std::optional<std::string> scale_name(std::string_view weight_name) const;
  // Likewise the names of the elements in files, and of what may lie beside them.
  std::optional<std::string> stored_name(std::string_view weight_name) const;
  std::vector<std::string> names_beside(std::string_view weight_name) const;
  // The rows and columns that share a scale in a weight that fits.
  bridge::Shape block_of(const bridge::Shape& weight_shape) const;
  // The shape of the scales of a weight [..., rows, columns] that fits; [] if there is one scale.
  bridge::Shape scale_shape(const bridge::Shape& weight_shape) const;
  // True for that shape. A single scale may be written as [1] too.
  bool fits_scales(const bridge::Shape& found, const bridge::Shape& weight_shape) const;
  // The shape of the HF tensor that stores a weight; nullopt if the weight's columns do not fill
  // whole elements.
  std::optional<bridge::Shape> stored_shape(bridge::Shape weight_shape) const;
};

}  // namespace mappings
