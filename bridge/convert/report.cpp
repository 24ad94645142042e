#include "bridge/convert/report.h"

#include "bridge/io/base/progress.h"
#include "bridge/io/file/json_file.h"
#include "bridge/io/file/paths.h"

namespace bridge {

void check_report(FileSystem& fs, const CommonOptions& options, const Path& target) {
  if (options.report.empty()) return;
  for (const Path& output : {target, options.sidecar}) {
    if (!output.empty() && lies_in(options.report, output)) return;
  }
  check_json_file_can_be_written(fs, options.report);
}

void write_report(FileSystem& fs, const CommonOptions& options, const Report& report,
                  double seconds) {
  if (options.report.empty()) return;
  nlohmann::ordered_json json = report.json;
  json["warnings"] = report.warnings;
  json["seconds"] = seconds;
  json["peak_rss_bytes"] = peak_rss_bytes();
  replace_json_file(fs, options.report, json);
}

}  // namespace bridge
