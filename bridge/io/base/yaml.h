// Reads a section of a YAML file as JSON. YAML's core schema decides the type of unquoted scalars,
// as in PyYAML's safe loader: null, true, 1, 1.0e-06, .inf and .nan have types of their own,
// everything else is text. Aliases are copied, within a limit.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace bridge {

// Returns the object under `section` at the top of the file. Errors: kBadInput, with line and
// column where the file is not YAML.
nlohmann::ordered_json read_yaml_section(std::string_view yaml, std::string_view section);

}  // namespace bridge
