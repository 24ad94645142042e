// FP8 with one scale for a whole tensor, as ModelOpt and compressed-tensors write it, is no format of ours: the tables know
// scales by block. It is recognised by what its writers leave behind, and refused by name.
//
//   ModelOpt             config.json: quantization_config with quant_algo "FP8"; in older releases only
//                        hf_quant_config.json says it. X.weight (F8_E4M3), X.weight_scale, X.input_scale
//   compressed-tensors   the same tensors
// Truth: modelopt/torch/export/quant_utils.py, compressed_tensors/quantization.
#pragma once

#include "bridge/io/hf/hf_folder.h"
#include "mappings/table/table.h"

namespace bridge {

// Errors: kUnsupported.
void refuse_fp8_with_one_scale(const mappings::Json& config);
void refuse_fp8_with_one_scale(const HfFolder& folder);

}  // namespace bridge
