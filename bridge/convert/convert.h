// convert-hf: a Hugging Face folder becomes a Megatron-Core checkpoint with its sidecar.
#pragma once

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

// Nothing is under options.target unless everything is. Errors: see bridge/io/base/error.h.
Report convert_hf(FileSystem& fs, const ConvertOptions& options);

}  // namespace bridge
