// The section "hf_config" of a mapping table: keys of config.json out of fields of the Megatron configuration, the way
// back of "megatron_config".
#pragma once

#include <string>
#include <vector>

#include "mappings/expr/expr.h"
#include "mappings/table/place.h"

namespace mappings {

struct HfConfigEntry {
  // Where the value stands, as alternatives: "rope_theta", "rope_parameters.rope_theta". The first that is there
  // counts, else the last whose object is there, else the last.
  std::vector<std::string> keys;
  Expr value;  // its names are fields of a statement (megatron/statement.h)
  Expr when;   // empty: always
  Place place;
};

// Errors: kBadInput.
HfConfigEntry hf_config_entry_of(const Json& json, const Place& place);

}  // namespace mappings
