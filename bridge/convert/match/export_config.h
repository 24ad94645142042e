// Decides the configuration of an export: the config.json of the sidecar or of --reference, brought
// into line with what the iteration says of itself (stated_config.h, stated_mtp.h); or, with
// neither, one that is derived from that alone (derived_config.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

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
  struct Derived {
    std::string architecture;
    std::vector<std::string>
        from_tensors;  // fields whose numbers the tensors told: "vocab_size 157"
  };
  std::optional<Derived> derived;  // set if config.json is made of the statement
};

ExportConfig settle_config(FileSystem& fs, const MegatronFolder& checkpoint, const Origin& origin,
                           Statement statement, const ExportOptions& options);

}  // namespace bridge
