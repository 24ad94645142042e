#include "bridge/convert/commit/report_place.h"
#include "bridge/convert/export.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"

namespace cli {

int export_to_hf(const bridge::ExportOptions& options) {
  const Stopwatch stopwatch;
  bridge::FileSystem& fs = bridge::real_file_system();
  bridge::check_report_place(fs, options.report,
                             {options.source, options.mapping, options.sidecar, options.reference},
                             {options.target});
  const bridge::Report report = bridge::export_to_hf(fs, options);
  return finish(options, report, stopwatch.seconds());
}

}  // namespace cli
