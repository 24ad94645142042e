// Decides the configuration of an export: the config.json of the sidecar or of --reference, brought
// into line with what the iteration says of itself (stated_config.h, stated_mtp.h).
#pragma once

#include <string>

#include "bridge/convert/match/origin.h"
#include "bridge/convert/match/stated_config.h"
#include "bridge/convert/match/statement.h"
#include "bridge/convert/options.h"

namespace bridge {

struct ExportConfig {
  Statement statement;
  StatedConfig stated;
  bool keep_mtp = true;
  bool no_mtp = false;  // the checkpoint has none: config.json must count 0
};

ExportConfig settle_config(FileSystem& fs, const MegatronFolder& checkpoint, const Origin& origin,
                           const ExportOptions& options, MemoryBudget& budget);

}  // namespace bridge
