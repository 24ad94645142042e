// inspect --megatron-args lists the flags of Megatron-LM's command line that --use-checkpoint-args
// does not replace.
#pragma once

#include "bridge/convert/inspect.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"
#include "mappings/megatron/megatron_flags.h"

namespace bridge {

struct FlagsSummary : Report {
  mappings::MegatronFlags found;
};

// Reads the flags from the arguments of a Megatron checkpoint, or from the arguments that
// convert-hf would write for a Hugging Face folder. Errors: kBadInput for a checkpoint without
// arguments.
FlagsSummary inspect_flags(FileSystem& fs, const InspectOptions& options);

}  // namespace bridge
