// A Hugging Face folder as transformers would read it: names, quantized weights and configuration are read here, not by the
// converter's tables and ops, so that a mistake in those shows.
//
//   quantized   X.weight in F8_E4M3 with X.weight_scale_inv (F32, BF16 or E8M0), one scale a block of
//               quantization_config.weight_block_size rows and columns:
//               value = BF16(float(code) * scale), one rounding
// Truth: transformers/integrations/finegrained_fp8.py; fp8_cast_bf16.py of DeepSeek-V3.
#pragma once

#include <memory>

#include "bridge/io/file_system.h"
#include "bridge/io/memory_budget.h"
#include "models/weights.h"

namespace models {

// Opens the folder and checks it against its configuration: tensors that are missing, of another shape or unknown are
// kBadInput by name. budget: for the headers; must outlive the result. drop_mtp: as if the model had no multi-token
// prediction, whatever configuration and tensors say.
std::unique_ptr<Weights> open_hf_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                         bridge::MemoryBudget& budget, bool drop_mtp = false);

}  // namespace models
