#include "bridge/convert/statement_report.h"

#include "bridge/io/number/dtype.h"

namespace bridge {

StatementSummary summarize_statement(const ExportConfig& config) {
  StatementSummary summary;
  summary.of = config.statement.of;
  summary.derived = config.derived;
  for (const mappings::ConfigChange& change : config.stated.changes) {
    summary.changes.push_back({change, "the checkpoint says so"});
  }
  const mappings::Binding& binding = config.stated.model.binding;
  const std::string& mtp_key = binding.table().mtp_key;
  if (config.no_mtp && !mtp_key.empty()) {
    summary.changes.push_back(
        {{mtp_key, binding.promised_mtp_depths(), 0}, "the checkpoint has no MTP layers"});
  }
  summary.training_only = config.stated.listed;
  return summary;
}

void record_statement(const StatementSummary& summary, nlohmann::ordered_json& json) {
  json["statement"] = summary.of;
  if (summary.derived) {
    json["derived_config"] = {{"architecture", summary.derived->architecture},
                              {"from_tensors", summary.derived->from_tensors}};
  }
  json["config_changes"] = nlohmann::ordered_json::array();
  for (const StatementSummary::Change& each : summary.changes) {
    json["config_changes"].push_back({{"key", each.change.key},
                                      {"from", each.change.from},
                                      {"to", each.change.to},
                                      {"why", each.why}});
  }
  json["training_only"] = nlohmann::ordered_json::array();
  for (const mappings::FieldDifference& difference : summary.training_only) {
    json["training_only"].push_back({{"field", difference.field},
                                     {"checkpoint", difference.checkpoint},
                                     {"config", difference.config}});
  }
  if (summary.dtype) json["config_dtype"] = torch_name(*summary.dtype);
  json["padding_rows"] = summary.padding_rows;
}

}  // namespace bridge
