#include "bridge/convert/report.h"

#include <fmt/format.h>

#include "bridge/io/base/progress.h"
#include "bridge/io/file/json_file.h"

namespace bridge {

void Report::warn(std::string text) {
  warnings.push_back(std::move(text));
}

void Report::list(std::string_view what, const std::vector<NamedReason>& items) {
  constexpr size_t kMostListed = 4;
  for (size_t first = 0, end = 0; first < items.size(); first = end) {
    while (end < items.size() && items[end].reason == items[first].reason) ++end;
    if (end - first > kMostListed) {
      lines.push_back(fmt::format("{} {} and {} more: {}", what, items[first].name, end - first - 1,
                                  items[first].reason));
      continue;
    }
    for (size_t i = first; i < end; ++i) {
      lines.push_back(fmt::format("{} {}: {}", what, items[i].name, items[i].reason));
    }
  }
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
