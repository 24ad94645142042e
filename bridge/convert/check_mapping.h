// Whether a table fits a model folder: all that a conversion would find wrong with the table before
// it writes a byte, and names in it that no built-in table has.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct MappingSummary : Report {
  size_t source_tensors = 0;
  int64_t target_tensors = 0;
  size_t dropped = 0;  // by rule
};

// Errors: kBadInput, kUnsupported.
MappingSummary check_mapping(FileSystem& fs, const CheckOptions& options);

}  // namespace bridge
