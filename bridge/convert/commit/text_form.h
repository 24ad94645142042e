// config.json of a multimodal model's text model on its own (--parts text on export), by the table's text form:
//
//   1. the object under config_root
//   2. of the whole file: the keys that the table keeps
//   3. the table's own: architectures, model_type
// Names of tensors in what is kept begin as the text form spells them.
#pragma once

#include <string>
#include <string_view>

#include "mappings/binding/binding.h"
#include "mappings/table/table.h"

namespace bridge {

// dialect: that of the names in `config_text`.
std::string text_form_config(std::string_view config_text, const mappings::Binding& binding,
                             size_t dialect);

}  // namespace bridge
