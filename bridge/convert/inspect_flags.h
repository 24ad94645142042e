// inspect --megatron-args: the flags of Megatron-LM's command line that --use-checkpoint-args does not replace.
#pragma once

#include "bridge/convert/inspect.h"
#include "bridge/convert/report.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

// Of a Megatron checkpoint from its arguments, of a Hugging Face folder from what convert-hf would write. The first line is
// the flags alone; the others begin with "#". kBadInput: a checkpoint without arguments.
Report inspect_flags(FileSystem& fs, const InspectOptions& options, MemoryBudget& budget);

}  // namespace bridge
