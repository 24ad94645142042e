#include "bridge/convert/export.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"

namespace cli {

int export_to_hf(const bridge::ExportOptions& options) {
  const Stopwatch stopwatch;
  bridge::check_report(bridge::real_file_system(), options, options.target);
  const bridge::Report report = bridge::export_to_hf(bridge::real_file_system(), options);
  return finish(options, report, stopwatch.seconds());
}

}  // namespace cli
