// inspect --megatron-args: the flags of Megatron-LM's command line that --use-checkpoint-args does not replace.
#pragma once

#include "bridge/convert/inspect.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"
#include "mappings/megatron/megatron_flags.h"

namespace bridge {

struct FlagsSummary : Report {
  mappings::MegatronFlags found;
};

// Of a Megatron checkpoint from its arguments, of a Hugging Face folder from what convert-hf would write.
// kBadInput: a checkpoint without arguments.
FlagsSummary inspect_flags(FileSystem& fs, const InspectOptions& options);

}  // namespace bridge
