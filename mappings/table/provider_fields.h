// Fields of the Megatron configuration in a mapping table. Internal to mappings.
//
//   1. "megatron_config": an expression each, or JSON that is emitted as it is, in which strings that begin with '=' are
//      expressions
//   2. "megatron_config_when": more of them for some configurations; they replace earlier ones of their name
#pragma once

#include <string>

#include "mappings/table/table.h"

namespace mappings {

ProviderField provider_field_of(const std::string& name, const Json& json, const Place& place);

// An entry [condition, {fields}] of "megatron_config_when".
void read_fields_when(const Json& json, const Place& place, Table& table);

void check_provider_fields(const Table& table);

// That the expressions in it parse.
void check_literal(const Json& json);

}  // namespace mappings
