// Whether a table fits a model folder: all that a conversion would find wrong with the table before
// it writes a byte, and names in it that no built-in table has.
#pragma once

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

// Errors: kBadInput, kUnsupported.
Report check_mapping(FileSystem& fs, const CheckOptions& options);

}  // namespace bridge
