// Refuses FP8 with one scale for a whole tensor where nothing in config.json says so: such a scale
// is recognised by its name, X.weight_scale beside X.weight (F8_E4M3). Older releases of ModelOpt
// say what they are in hf_quant_config.json only.
//
// Truth: modelopt/torch/export/quant_utils.py, compressed_tensors/quantization.
#pragma once

#include "bridge/io/hf/hf_folder.h"
#include "mappings/binding/binding.h"

namespace bridge {

// Errors: kUnsupported, if the configuration has no weights with a scale of this name.
void refuse_fp8_with_one_scale(const HfFolder& folder, const mappings::Binding& binding);

}  // namespace bridge
