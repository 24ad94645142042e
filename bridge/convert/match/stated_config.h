// Checks config.json against what the checkpoint says of itself (statement.h). What happens to a
// field that differs depends on its kind:
//
//   it decides bytes or layout   refused as `name: checkpoint X, config.json Y`
//   it is another number         config.json takes the checkpoint's value by the table's hf_config;
//                                the result is bound again, and refused if it still differs
//   it concerns training only    listed
//
// Without this check, the config.json of a relative with the same shapes would silently cut q, k
// and v at the wrong rows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/statement.h"
#include "mappings/binding/hf_config_values.h"
#include "mappings/megatron/statement_fields.h"

namespace bridge {

// Return "name: checkpoint X, config.json Y", and the same without the name.
std::string difference_text(const mappings::FieldDifference& difference);
std::string difference_values(const mappings::FieldDifference& difference);

// Reports kBadInput with a line for each difference; returns if there are none.
void refuse_differences(const std::vector<mappings::FieldDifference>& differences,
                        const Statement& statement, const std::string& config_name,
                        std::string hint);

struct StatedConfig {
  std::string text;  // the config.json that counts
  BoundModel model;  // bound to it
  std::vector<mappings::ConfigChange> changes;
  std::vector<mappings::FieldDifference> listed;
};

// Returns what verify calls a difference. That includes MTP depths and a larger vocabulary, and
// excludes fields that concern training only.
std::vector<mappings::FieldDifference> statement_differences(const Statement& statement,
                                                             const mappings::Binding& binding);

// Applies the rules above. model: bound to config_text; bind: binds another text; config_name: for
// messages. Errors: kBadInput.
StatedConfig follow_statement(const Statement& statement, std::string config_text, BoundModel model,
                              const std::string& config_name,
                              const std::function<BoundModel(const std::string&)>& bind);

}  // namespace bridge
