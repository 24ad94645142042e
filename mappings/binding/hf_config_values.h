// Updates config.json to what a checkpoint says about itself, by the table's hf_config.
#pragma once

#include <string>
#include <vector>

#include "mappings/expr/expr.h"
#include "mappings/table/table.h"

namespace mappings {

struct ConfigChange {
  std::string key;  // "rope_scaling.factor"
  Json from;        // null: the key was absent
  Json to;
};

// before, now: statements (megatron/statement.h) of what config.json means and of what it should
// mean. Sets those keys in `config`, the object that describes the text model, whose values differ.
// Errors: kBadInput with the table's line.
std::vector<ConfigChange> bring_up_to_date(const Table& table, const Json& before, const Json& now,
                                           Json& config);

}  // namespace mappings
