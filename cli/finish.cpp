#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/stream_file.h"
#include "cli/commands.h"

namespace cli {

void print_summary(const bridge::CommonOptions& options, const bridge::Report& report,
                   const Lines& lines) {
  for (const std::string& text : report.warnings) {
    bridge::print_message(fmt::format("warning: {}\n", text));
  }
  if (options.quiet) return;
  // Where the report goes to standard output, a program reads it.
  const bool aside = bridge::is_standard_output(options.report);
  for (const std::string& line : lines) {
    aside ? bridge::print_message(line + "\n") : fmt::print("{}\n", line);
  }
}

int finish(const bridge::CommonOptions& options, const bridge::Report& report, const Lines& lines,
           double seconds) {
  print_summary(options, report, lines);
  bridge::write_report(bridge::real_file_system(), options, report, seconds);
  return exit_status(report);
}

int exit_status(const bridge::Report& report) {
  return report.difference ? static_cast<int>(bridge::Code::kMismatch) : 0;
}

}  // namespace cli
