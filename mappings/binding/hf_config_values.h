// Updates config.json to what a checkpoint says about itself, or makes one from that alone, by the
// table's hf_config.
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

// True if the table's hf_config makes a whole config.json, which has a model_type.
bool derives_config(const Table& table);

// Makes a config.json from a statement alone: every entry that derives writes the last of its
// places. The config.json of a multimodal model is that of its text model. Errors: kBadInput with
// the table's line if the statement lacks a field ("hidden_size is missing").
Json derived_config(const Table& table, const Json& fields);

}  // namespace mappings
