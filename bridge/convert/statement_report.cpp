#include "bridge/convert/statement_report.h"

#include <fmt/format.h>

namespace bridge {

void describe_change(Report& report, const mappings::ConfigChange& change, const std::string& why) {
  report.lines.push_back(fmt::format("config   {}: {}, was {}: {}", printable(change.key),
                                     mappings::field_text(change.to),
                                     mappings::field_text(change.from), why));
  report.json["config_changes"].push_back(
      {{"key", change.key}, {"from", change.from}, {"to", change.to}, {"why", why}});
}

void describe_statement(Report& report, const ExportConfig& config) {
  const Statement& statement = config.statement;
  report.json["statement"] = statement.of;
  report.json["config_changes"] = nlohmann::ordered_json::array();
  report.json["training_only"] = nlohmann::ordered_json::array();
  if (statement.empty()) {
    report.lines.push_back(
        "config   not checked: the checkpoint holds neither arguments nor run_config.yaml");
  }
  for (const mappings::ConfigChange& change : config.stated.changes) {
    describe_change(report, change, "the checkpoint says so");
  }
  for (const mappings::FieldDifference& difference : config.stated.listed) {
    report.lines.push_back("training " + difference_text(difference) + " (left as it is)");
    report.json["training_only"].push_back({{"field", difference.field},
                                            {"checkpoint", difference.checkpoint},
                                            {"config", difference.config}});
  }
}

void describe_padding(Report& report, int64_t rows, int64_t kept) {
  report.json["padding_rows"] = rows;
  if (rows == 0) return;
  report.lines.push_back(
      fmt::format("padding  {} rows of the vocabulary left out, {} kept", rows, kept));
}

}  // namespace bridge
