// The files beside an output that belong to its journals: .NAME.causeway.WHAT for the one that
// begins with transfer 0, .NAME.causeway.WHAT.FIRST for others. WHAT is "journal" or "witnesses".
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/options.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

Path numbered_beside(const Path& target, std::string_view what, int64_t first);

// Returns those that are there, in the order of their names; that of transfer 0 is the first.
std::vector<Path> all_numbered_beside(FileSystem& fs, const Path& target, std::string_view what);

// For an output whose commit has two renames: accepts a folder that another run has already
// renamed, and which --resume is to complete; `otherwise` judges every other. journal: of that run;
// empty: it lies beside the folder.
CheckReplaceable or_renamed(FileSystem& fs, const OutputOptions& options, Path journal,
                            MemoryBudget& budget, CheckReplaceable otherwise);

}  // namespace bridge
