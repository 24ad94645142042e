#include "bridge/convert/convert.h"
#include "bridge/io/file/file_system.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"

namespace cli {

int convert_hf(const bridge::ConvertOptions& options) {
  const Stopwatch stopwatch;
  bridge::check_report(bridge::real_file_system(), options, options.target);
  const bridge::Report report = bridge::convert_hf(bridge::real_file_system(), options);
  return finish(options, report, stopwatch.seconds());
}

}  // namespace cli
