#include "bridge/convert/report.h"

#include "bridge/io/base/progress.h"
#include "bridge/io/file/json_file.h"

namespace bridge {

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
