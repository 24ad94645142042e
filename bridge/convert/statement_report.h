// Reports, as data, what an export did with the checkpoint's own statement and the vocabulary's
// padding.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/match/export_config.h"
#include "bridge/io/number/dtype.h"
#include "mappings/binding/hf_config_values.h"
#include "mappings/megatron/statement_fields.h"

namespace bridge {

struct StatementSummary {
  // A key of config.json whose value differs from the origin's.
  struct Change {
    mappings::ConfigChange change;
    std::string why;
  };
  std::string of;  // Statement::of; empty: there is no statement, so config.json is not checked
  std::optional<ExportConfig::Derived> derived;  // set if config.json is made of the statement
  std::vector<Change> changes;
  std::vector<mappings::FieldDifference> training_only;  // left as they are
  std::optional<Dtype> dtype;  // config.json names it instead of the origin's
  int64_t padding_rows = 0;    // rows of the vocabulary that are left out
  int64_t kept_rows = 0;
};

StatementSummary summarize_statement(const ExportConfig& config);

// Adds the summary's keys to the machine-readable result.
void record_statement(const StatementSummary& summary, nlohmann::ordered_json& json);

}  // namespace bridge
