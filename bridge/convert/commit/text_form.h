// Makes config.json of a multimodal model's text model on its own (--parts text on export), from
// the table's text form:
//
//   1. the object under config_root
//   2. the keys of the whole file that the table keeps
//   3. the table's own keys: architectures, model_type
//
// Tensor names in the kept keys get the prefixes of the text form.
#pragma once

#include <string>
#include <string_view>

#include "mappings/binding/binding.h"
#include "mappings/table/table.h"

namespace bridge {

// dialect: the dialect of the names in `config_text`.
std::string text_form_config(std::string_view config_text, const mappings::Binding& binding,
                             size_t dialect);

}  // namespace bridge
