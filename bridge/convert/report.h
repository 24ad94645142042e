// What every verb returns: the machine-readable result. Each adds what its summary on stdout needs, as data; cli/ makes
// the lines of it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bridge/convert/options.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

struct Report {
  std::vector<std::string> warnings;  // stderr
  nlohmann::ordered_json json;        // --report
  bool difference = false;            // verify: exit 1

  void warn(std::string text) { warnings.push_back(std::move(text)); }
};

// Replaces the file at options.report, when asked for one. json gets wall seconds and peak memory.
void write_report(FileSystem& fs, const CommonOptions& options, const Report& report,
                  double seconds);

}  // namespace bridge
