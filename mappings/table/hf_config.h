// The section "hf_config" of a mapping table: computes keys of config.json from fields of the
// Megatron configuration. It is the inverse of "megatron_config". Its entries correct a config.json
// that is there, and make one if there is none.
#pragma once

#include <string>
#include <vector>

#include "mappings/expr/expr.h"
#include "mappings/table/place.h"

namespace mappings {

struct HfConfigEntry {
  // Alternative places of the value: "rope_theta", "rope_parameters.rope_theta". The first one that
  // exists is used; else the last one whose object exists; else the last one.
  std::vector<std::string> keys;
  Expr value;  // its names are fields of a statement (megatron/statement.h)
  Expr when;   // empty: always
  Place place;
  // The entry corrects a config.json that is there; it derives one that is not, which gets the key
  // at the last of its places.
  bool corrects = true;
  bool derives = true;
};

// Errors: kBadInput.
HfConfigEntry hf_config_entry_of(const Json& json, const Place& place);

}  // namespace mappings
