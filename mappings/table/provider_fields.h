// Fields of the Megatron configuration in a mapping table. Internal to mappings.
//
//   1. "megatron_config": each field is an expression, or JSON that is emitted as it is, in which a
//      string that begins with '=' is an expression
//   2. "megatron_config_when": further fields for some configurations; they replace earlier fields
//      of the same name
//
// The format is in docs/mapping-tables.md.
#pragma once

#include <string>

#include "mappings/table/table.h"

namespace mappings {

ProviderField provider_field_of(const std::string& name, const Json& json, const Place& place);

// Reads an entry [condition, {fields}] of "megatron_config_when" into the table.
void read_fields_when(const Json& json, const Place& place, Table& table);

void check_provider_fields(const Table& table);

// Checks that the expressions in the JSON parse.
void check_literal(const Json& json);

}  // namespace mappings
