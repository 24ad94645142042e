#include "bridge/convert/report.h"

#include "bridge/convert/progress.h"

namespace bridge {

void Report::warn(std::string text) {
  warnings.push_back(std::move(text));
}

void write_report(FileSystem& fs, const CommonOptions& options, const Report& report,
                  double seconds) {
  if (options.report.empty()) return;
  nlohmann::ordered_json json = report.json;
  json["warnings"] = report.warnings;
  json["seconds"] = seconds;
  json["peak_rss_bytes"] = peak_rss_bytes();
  Path partial = options.report;
  partial += ".partial";
  if (fs.lstat(partial)) fs.remove_file(partial);
  write_whole_file(
      fs, partial,
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  fs.rename(partial, options.report);
}

}  // namespace bridge
