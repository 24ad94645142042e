// What a run did, for --report FILE.json and for the summary on stdout.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/match/accounting.h"
#include "bridge/convert/options.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct Report {
  std::vector<std::string> lines;     // stdout
  std::vector<std::string> warnings;  // stderr
  nlohmann::ordered_json json;        // --report
  bool difference = false;            // verify: exit 1

  void warn(std::string text);
  // "dropped  NAME: reason"; many names in a row with one reason take one line.
  void list(std::string_view what, const std::vector<NamedReason>& items);
};

// Replaces the file at options.report, when asked for one. json gets wall seconds and peak memory.
void write_report(FileSystem& fs, const CommonOptions& options, const Report& report,
                  double seconds);

}  // namespace bridge
