// A Hugging Face folder as transformers would read it: names, quantized weights and configuration are read here, not by the
// converter's tables and ops, so that a mistake in those shows.
//
//   FP8      X.weight in F8_E4M3 with X.weight_scale_inv or X.scale (F32, BF16 or E8M0), one scale a block of
//            quantization_config.weight_block_size rows and columns
//   FP4      X.weight in I8, two e2m1 a byte, the even column in its low half, with X.scale, one a row and 32 columns
//   value = BF16(float(code) * scale), one rounding
// A canonical tensor may be some rows or columns of a stored one, and a stored one may have all experts on its first axis
// (names.h).
// Truth: transformers/integrations/finegrained_fp8.py; fp8_cast_bf16.py of DeepSeek-V3; inference/convert.py of DeepSeek-V4.
#pragma once

#include <memory>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/weights/weights.h"

namespace models {

// Opens the folder and checks it against its configuration: tensors that are missing, of another shape or unknown are
// kBadInput by name. budget: for the headers; must outlive the result. drop_mtp: as if the model had no multi-token
// prediction, whatever configuration and tensors say.
std::unique_ptr<Weights> open_hf_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                         bridge::MemoryBudget& budget, bool drop_mtp = false);

}  // namespace models
