// Refuses NVFP4 by name: FP4 elements in blocks of 16 with E4M3 scales under a global F32 scale,
// which Causeway does not support. The marks of its two writers identify it:
//
//   ModelOpt             config.json quant_method "modelopt", quant_algo "NVFP4" (in older releases
//                        only hf_quant_config.json says it); X.weight (U8), X.weight_scale,
//                        X.weight_scale_2
//   compressed-tensors   format "nvfp4-pack-quantized"; X.weight_packed, X.weight_scale,
//                        X.weight_global_scale
//
// Truth: modelopt/torch/export/quant_utils.py,
// compressed_tensors/compressors/quantized_compressors/nvfp4_quantized.py.
#pragma once

#include "bridge/io/hf/hf_folder.h"
#include "mappings/table/table.h"

namespace bridge {

// Errors: kUnsupported.
void refuse_nvfp4(const mappings::Json& config);
void refuse_nvfp4(const HfFolder& folder);

}  // namespace bridge
