// What an export made of the checkpoint's own statement and of the vocabulary's padding, as data.
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
  // A key of config.json that is written otherwise than the origin has it.
  struct Change {
    mappings::ConfigChange change;
    std::string why;
  };
  std::string of;  // where the checkpoint says it; empty: nowhere, so config.json is not checked
  std::vector<Change> changes;
  std::vector<mappings::FieldDifference> training_only;  // left as they are
  std::optional<Dtype> dtype;  // that config.json names instead of the origin's
  int64_t padding_rows = 0;    // of the vocabulary, left out
  int64_t kept_rows = 0;
};

StatementSummary summarize_statement(const ExportConfig& config);

// Its keys of the machine-readable result.
void record_statement(const StatementSummary& summary, nlohmann::ordered_json& json);

}  // namespace bridge
