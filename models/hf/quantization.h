// How the quantized tensors of a Hugging Face folder are stored, besides those in blocks of FP8 and
// FP4 (view.h): by the name of a weight, X.weight.
//
//   INT4     X.weight_packed in I32, eight numbers in one, the first in the lowest bits, each the
//            number plus 8; X.weight_scale, one scale per row and group_size columns
//   FP8      X.weight in F8_E4M3; X.weight_scale or X.weight_scale_inv, one scale per row, per block
//            of block_structure, or one
//
// quantization_config says which. What may lie beside, scales of activations and of the KV cache
// and X.weight_shape, is for other readers.
// Truth: compressed-tensors' compressors (pack_quantized, naive_quantized) and QuantizationArgs;
// transformers' integrations/finegrained_fp8.py; export/quant_utils.py of ModelOpt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

// True if the configuration speaks of MXFP4 (view.h), whose blocks are always the same.
bool hf_has_mxfp4(const Settings& config);

bool is_hf_int4(const bridge::HfTensor& tensor);

// Finds X.weight, or X.weight_packed in its place. nullptr: there is neither.
const bridge::HfTensor* find_hf_weight(const bridge::HfFolder& folder, const std::string& name);
// The weight that a tensor of this name would be, lie beside, or scale; else the name itself.
std::string hf_weight_name(std::string_view name);
// What lies beside a quantized weight and is not its scales.
std::vector<const bridge::HfTensor*> hf_tensors_beside(const bridge::HfFolder& folder,
                                                       const std::string& weight);

}  // namespace models
