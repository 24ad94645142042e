// inspect: what is in a checkpoint of either kind, from its headers.
#pragma once

#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct InspectOptions : CommonOptions {
  Path path;
  bool every_tensor = false;  // one line a tensor instead of one a family of layers
  bool as_json = false;       // fill Report::json with every tensor
  bool flags = false;         // --megatron-args: inspect_flags.h
};

Report inspect(FileSystem& fs, const InspectOptions& options);

}  // namespace bridge
