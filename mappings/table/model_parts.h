// Parts of a multimodal model in a mapping table: what --parts text leaves out, and what is left without it. Internal to
// mappings.
//
//   1. "part" of a family holds for its rows, drops and modules; those of no family name their own
//   2. "text_form" is the model without parts: the object under config_root moved to the top of config.json, with some
//      keys more, and tensor names in a dialect of its own
#pragma once

#include <string>

#include "mappings/table/table.h"

namespace mappings {

// family: of the element; nullptr: none.
std::string part_option(const Json& options, const Family* family);

TextForm text_form_of(const Json& json);
void check_text_form(const Table& table);

// config_root where this config.json has it. A table with a text form serves a config.json without it too, whose top
// describes the text model.
std::string root_key(const Table& table, const Json& config);

// The dialect whose texts are those of `dialect` with the text form's; dialects.size(): there is none.
size_t text_dialect_of(const Table& table, size_t dialect);

}  // namespace mappings
