// How the quantized tensors of a Hugging Face folder are stored, by the name of a weight, X.weight.
//
//   FP8      X.weight in F8_E4M3 with X.weight_scale_inv or X.scale (F32, BF16 or E8M0), one scale
//            per block of quantization_config.weight_block_size (block_structure of
//            compressed-tensors) rows and columns; or with X.weight_scale or X.weight_scale_inv,
//            one scale per row or one
//   FP4      X.weight in I8, two e2m1 numbers per byte with the even column in the low half, and
//            X.scale, one scale per row and 32 columns
//   MXFP4    X_blocks in U8, the same pairs, with an axis for the blocks of 32 columns, and
//            X_scales in U8: 127 more than the exponent of each block's power of two
//   INT4     X.weight_packed in I32, eight numbers in one, the first in the lowest bits, each the
//            number plus 8; X.weight_scale, one scale per row and group_size columns
//   value = BF16(float(code) * scale), one rounding
//
// quantization_config says which. What may lie beside, scales of activations and of the KV cache
// and X.weight_shape, is for other readers.
// Truth: transformers' integrations/finegrained_fp8.py and mxfp4.py; fp8_cast_bf16.py of
// DeepSeek-V3; inference/convert.py of DeepSeek-V4; compressed-tensors' compressors
// (pack_quantized, naive_quantized) and QuantizationArgs; export/quant_utils.py of ModelOpt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/checked.h"
#include "bridge/io/hf/hf_folder.h"
#include "models/hf/compressed_groups.h"
#include "models/weights/settings.h"

namespace models {

// The rows and columns of a matrix that share a scale.
struct HfBlock {
  static constexpr int64_t kAll = 0;
  int64_t rows = kAll;
  int64_t columns = kAll;

  // The same with numbers instead of kAll, in a matrix of this shape.
  HfBlock in(const bridge::Shape& matrix) const;
};

// What quantization_config says of FP8 and INT4 weights.
class HfQuantization {
 public:
  // config: the whole config.json. Errors: kUnsupported by name for other quantizations.
  explicit HfQuantization(const Settings& config);

  // False: config.json has no quantization_config of such weights.
  bool any() const { return !kinds_.empty(); }
  // The rows and columns of a quantized weight that share a scale. Errors: kBadInput if the
  // configuration has no such weights.
  HfBlock block_of(const bridge::HfTensor& stored) const;
  // Errors: kBadInput if the configuration says otherwise of how a linear layer's weight is stored.
  void check_linear(const bridge::HfTensor& stored) const;

 private:
  struct Kind {
    HfBlock block;
    bool is_int4 = false;
    size_t group = 0;  // of groups_
  };
  std::vector<Kind> kinds_;
  std::optional<CompressedGroups> groups_;  // if the configuration says which weights are quantized
};

// True if the configuration speaks of MXFP4, whose blocks are always the same.
bool hf_has_mxfp4(const Settings& config);

// The block of FP4 and MXFP4 weights, whatever the configuration says.
constexpr HfBlock kHfFp4Block = {1, 32};

// By dtype and name, whatever the configuration says. FP4 counts MXFP4 in.
bool is_hf_int4(const bridge::HfTensor& tensor);
bool is_hf_mxfp4(const bridge::HfTensor& tensor);
bool is_hf_fp4(const bridge::HfTensor& tensor);
bool is_hf_quantized(const bridge::HfTensor& tensor);

// The elements that a stored number holds: 1, or more where several are packed into one.
int64_t hf_elements_of_number(const bridge::HfTensor& tensor);
// The shape of the elements that the tensor stands for. Errors: kBadInput for an overflow.
bridge::Shape hf_element_shape(const bridge::HfTensor& tensor);

// Finds X.weight, or X.weight_packed in its place. nullptr: there is neither.
const bridge::HfTensor* find_hf_weight(const bridge::HfFolder& folder, const std::string& name);
// The weight that a tensor of this name would be, lie beside, or scale; else the name itself.
std::string hf_weight_name(std::string_view name);
// Finds the scales of a quantized weight, which may be an X_blocks. nullptr: there are none.
const bridge::HfTensor* find_hf_scales(const bridge::HfFolder& folder, const std::string& weight);
// What lies beside a quantized weight and is not its scales.
std::vector<const bridge::HfTensor*> hf_tensors_beside(const bridge::HfFolder& folder,
                                                       const std::string& weight);

}  // namespace models
