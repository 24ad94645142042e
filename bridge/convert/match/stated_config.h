// config.json checked against what the checkpoint says of itself (statement.h), field by field:
//
//   what decides bytes or layout   differs: refused, each field as `name: checkpoint X, config.json Y`
//   other numbers                  config.json takes the checkpoint's, by the table's hf_config; the result is bound
//                                  again and must mean what the checkpoint says, else it is refused too
//   what is of training only       is listed
// Without this a config.json of a relative, with the same shapes, would cut q, k and v at the wrong rows in silence.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/statement.h"
#include "mappings/binding/hf_config_values.h"
#include "mappings/megatron/statement_fields.h"

namespace bridge {

// "name: checkpoint X, config.json Y", and without the name.
std::string difference_text(const mappings::FieldDifference& difference);
std::string difference_values(const mappings::FieldDifference& difference);

// kBadInput with a line for each; none: returns.
void refuse_differences(const std::vector<mappings::FieldDifference>& differences,
                        const Statement& statement, const std::string& config_name,
                        std::string hint);

struct StatedConfig {
  std::string text;  // of the config.json that counts
  BoundModel model;  // of it
  std::vector<mappings::ConfigChange> changes;
  std::vector<mappings::FieldDifference> listed;
};

// All that verify calls a difference: MTP depths and a larger vocabulary too, what is of training only not.
std::vector<mappings::FieldDifference> statement_differences(const Statement& statement,
                                                             const mappings::Binding& binding);

// model: of config_text; bind: makes the binding of another text. config_name: for messages. Errors: kBadInput.
StatedConfig follow_statement(const Statement& statement, std::string config_text, BoundModel model,
                              const std::string& config_name,
                              const std::function<BoundModel(const std::string&)>& bind);

}  // namespace bridge
