// Parts of a multimodal model in a mapping table: what --parts text leaves out, and what remains.
// Internal to mappings.
//
//   1. "part" of a family applies to its rows, drops and modules; elements outside a family state
//      their own
//   2. "text_form" describes the model without parts: the object under config_root moves to the top
//      of config.json and gets some more keys, and the tensor names have a dialect of their own
//
// The format is in docs/mapping-tables.md.
#pragma once

#include <string>

#include "mappings/table/table.h"

namespace mappings {

// The part of an element with these options. family: the element's family; nullptr: none.
std::string part_option(const Json& options, const Family* family);

TextForm text_form_of(const Json& json);
void check_text_form(const Table& table);

// The table's config_root; empty if this config.json lacks it and the table has a text form,
// because the top of such a config.json describes the text model.
std::string root_key(const Table& table, const Json& config);

// The index of the dialect that equals `dialect` with the texts of the text form; dialects.size()
// if the table has no such dialect.
size_t text_dialect_of(const Table& table, size_t dialect);

}  // namespace mappings
