// The scales of a folder's quantized tensors: which tensor holds them, whether both fit together,
// and which elements share one. How they are stored is in quantization.h.
#pragma once

#include "bridge/io/base/checked.h"
#include "bridge/io/hf/hf_folder.h"
#include "models/hf/quantization.h"
#include "models/weights/settings.h"

namespace models {

class HfScales {
 public:
  // folder: must outlive this. config: of its config.json. Errors: those of HfQuantization.
  HfScales(const bridge::HfFolder& folder, const Settings& config);

  // The scales of a quantized tensor, after checking both against its quantization. Errors:
  // kBadInput if there are none, if config.json does not say that tensors are quantized so, and
  // for shapes that do not fit.
  const bridge::HfTensor& of(const bridge::HfTensor& tensor) const;

  // Errors: kBadInput if config.json says otherwise of how a linear layer's weight is stored.
  void check_linear(const bridge::HfTensor& weight) const { quantization_.check_linear(weight); }

  // Only for tensors that of() took, and not of MXFP4, whose scales have a shape of their own:
  // The rows and columns of the matrix that share a scale.
  HfBlock block_in(const bridge::HfTensor& matrix) const;
  // The numbers of such blocks, down and across.
  bridge::Shape grid_of(const bridge::HfTensor& matrix) const;

 private:
  const bridge::HfTensor& check_exponents(const bridge::HfTensor& tensor,
                                          const bridge::HfTensor& scale) const;

  const bridge::HfFolder& folder_;
  HfQuantization quantization_;
  bool has_mxfp4_;
};

}  // namespace models
