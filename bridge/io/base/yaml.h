// A section of a YAML file as JSON. Scalars that are not quoted are read by YAML's core schema, as PyYAML's safe loader
// does: null, true, 1, 1.0e-06; everything else is text. Aliases are copied, within a limit.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace bridge {

// The object under `section` at the top of the file. Errors: kBadInput, with line and column where the file is no YAML.
nlohmann::ordered_json read_yaml_section(std::string_view yaml, std::string_view section);

}  // namespace bridge
