// A Hugging Face folder, read as transformers would read it. Names, quantized weights and the
// configuration are read here without the converter's tables and ops, so that a mistake in those
// shows.
//
// How quantized tensors are stored is in quantization.h, and what the tensors say of the
// configuration in folder_config.h.
// A canonical tensor may be some rows or columns of a stored one, and a stored one may have all
// experts on its first axis (names.h).
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
