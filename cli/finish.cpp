#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"

namespace cli {

int finish(const bridge::CommonOptions& options, const bridge::Report& report, const Lines& lines,
           double seconds) {
  for (const std::string& text : report.warnings) fmt::print(stderr, "warning: {}\n", text);
  if (!options.quiet) {
    for (const std::string& line : lines) fmt::print("{}\n", line);
  }
  bridge::write_report(bridge::real_file_system(), options, report, seconds);
  return report.difference ? static_cast<int>(bridge::Code::kMismatch) : 0;
}

}  // namespace cli
