// A Hugging Face folder, read as transformers would read it. Names, quantized weights and the
// configuration are read here without the converter's tables and ops, so that a mistake in those
// shows.
//
//   FP8      X.weight in F8_E4M3 with X.weight_scale_inv or X.scale (F32, BF16 or E8M0), one scale
//            per block of quantization_config.weight_block_size rows and columns
//   FP4      X.weight in I8, two e2m1 numbers per byte with the even column in the low half, and
//            X.scale, one scale per row and 32 columns
//   MXFP4    X_blocks in U8, the same pairs, with an axis for the blocks of 32 columns, and
//            X_scales in U8: 127 more than the exponent of each block's power of two
//   value = BF16(float(code) * scale), one rounding
//
// INT4, and FP8 with a scale per row or tensor, are in quantization.h.
//
// A canonical tensor may be some rows or columns of a stored one, and a stored one may have all
// experts on its first axis (names.h).
// Truth: transformers/integrations/finegrained_fp8.py and mxfp4.py; fp8_cast_bf16.py of
// DeepSeek-V3; inference/convert.py of DeepSeek-V4.
#pragma once

#include <memory>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/weights/weights.h"

namespace models {

// Opens the folder and checks it against its configuration: tensors that are missing, unknown or of
// another shape are kBadInput by name. budget: for the headers; must outlive the result. drop_mtp:
// ignore multi-token prediction in the configuration and the tensors.
std::unique_ptr<Weights> open_hf_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                         bridge::MemoryBudget& budget, bool drop_mtp = false);

}  // namespace models
