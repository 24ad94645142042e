// Refuses FP8 with one scale for a whole tensor, as ModelOpt and compressed-tensors write it. The
// tables know only scales by block. The check recognises the format by what its writers leave
// behind:
//
//   ModelOpt             config.json: quantization_config with quant_algo "FP8"; older releases say
//                        so only in hf_quant_config.json. X.weight (F8_E4M3), X.weight_scale,
//                        X.input_scale
//   compressed-tensors   the same tensors
//
// Truth: modelopt/torch/export/quant_utils.py, compressed_tensors/quantization.
#pragma once

#include "bridge/io/hf/hf_folder.h"
#include "mappings/table/table.h"

namespace bridge {

// Errors: kUnsupported.
void refuse_fp8_with_one_scale(const mappings::Json& config);
void refuse_fp8_with_one_scale(const HfFolder& folder);

}  // namespace bridge
