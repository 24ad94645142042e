// export-to-hf: a Megatron-Core checkpoint becomes a Hugging Face folder again.
#pragma once

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

// Nothing is under options.target unless everything is. Errors: see bridge/io/base/error.h.
Report export_to_hf(FileSystem& fs, const ExportOptions& options);

}  // namespace bridge
