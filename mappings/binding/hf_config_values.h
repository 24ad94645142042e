// Brings what a checkpoint says of itself into config.json, by the table's hf_config.
#pragma once

#include <string>
#include <vector>

#include "mappings/expr/expr.h"
#include "mappings/table/table.h"

namespace mappings {

struct ConfigChange {
  std::string key;  // "rope_scaling.factor"
  Json from;        // null where it was not there
  Json to;
};

// before, now: statements (megatron/statement.h) of what config.json means and of what it shall mean. Sets in `config`,
// the object that describes the text model, the keys whose value is another one. Errors: kBadInput with the table's line.
std::vector<ConfigChange> bring_up_to_date(const Table& table, const Json& before, const Json& now,
                                           Json& config);

}  // namespace mappings
