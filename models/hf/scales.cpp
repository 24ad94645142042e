#include "models/hf/scales.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"

namespace models {

using bridge::Dtype;
using bridge::HfTensor;

HfScales::HfScales(const bridge::HfFolder& folder, const Settings& config)
    : folder_(folder), quantization_(config), has_mxfp4_(hf_has_mxfp4(config)) {}

const HfTensor& HfScales::of(const HfTensor& tensor) const {
  const HfTensor* scale = find_hf_scales(folder_, hf_weight_name(tensor.name));
  if (scale == nullptr) bridge::bad_input("quantized, but its scales are missing");
  if (is_hf_mxfp4(tensor)) return check_exponents(tensor, *scale);
  if (!quantization_.any() && !is_hf_fp4(tensor)) {
    bridge::bad_input("quantized, but config.json has no quantization_config");
  }
  if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1) {
    bridge::bad_input(
        fmt::format("quantized, but its shape is {}", bridge::shape_text(tensor.shape)));
  }
  const HfBlock block = block_in(tensor);
  const bridge::Shape grid = grid_of(tensor);
  const bool is_number =
      bridge::element_count(grid) == 1 && bridge::element_count(scale->shape) == 1;
  if (scale->shape != grid && !is_number) {
    bridge::bad_input(fmt::format("shape {} in blocks of {} x {} with scales of shape {}",
                                  bridge::shape_text(tensor.shape), block.rows, block.columns,
                                  bridge::shape_text(scale->shape)));
  }
  return *scale;
}

HfBlock HfScales::block_in(const HfTensor& matrix) const {
  const HfBlock block = is_hf_fp4(matrix) ? kHfFp4Block : quantization_.block_of(matrix);
  return block.in(hf_element_shape(matrix));
}

bridge::Shape HfScales::grid_of(const HfTensor& matrix) const {
  const bridge::Shape shape = hf_element_shape(matrix);
  const HfBlock block = block_in(matrix);
  return {(shape[0] - 1) / block.rows + 1, (shape[1] - 1) / block.columns + 1};
}

const HfTensor& HfScales::check_exponents(const HfTensor& tensor, const HfTensor& scale) const {
  if (!has_mxfp4_) bridge::bad_input("quantized, but config.json does not say mxfp4");
  bridge::Shape blocks = tensor.shape;
  blocks.pop_back();
  if (tensor.shape.size() != 4 || 2 * tensor.shape.back() != kHfFp4Block.columns ||
      scale.shape != blocks || scale.dtype != Dtype::kU8) {
    bridge::bad_input(
        fmt::format("shape {} with scales {} of shape {}", bridge::shape_text(tensor.shape),
                    bridge::safetensors_name(scale.dtype), bridge::shape_text(scale.shape)));
  }
  return scale;
}

}  // namespace models
