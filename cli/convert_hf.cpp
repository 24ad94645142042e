#include "bridge/convert/commit/report_place.h"
#include "bridge/convert/convert.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"

namespace cli {

int convert_hf(const bridge::ConvertOptions& options) {
  const Stopwatch stopwatch;
  bridge::FileSystem& fs = bridge::real_file_system();
  bridge::check_report_place(fs, options.report, {options.source, options.mapping, options.expect},
                             {options.target, options.sidecar});
  const bridge::Report report = bridge::convert_hf(fs, options);
  return finish(options, report, stopwatch.seconds());
}

}  // namespace cli
