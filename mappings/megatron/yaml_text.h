// Writes JSON values as block-style YAML in the spelling of PyYAML's safe_dump: keys sorted by
// bytes, lists not indented, floats with a point (1.0e-06). Any YAML 1.1 reader gets the same
// values back.
// Truth: yaml/representer.py, yaml/emitter.py of PyYAML.
#pragma once

#include <string>
#include <string_view>

#include "mappings/expr/expr.h"

namespace mappings {

// top must be an object. Errors: kBadInput for text that is not UTF-8.
std::string yaml_text(const Json& top);

// One scalar: 0.02, 1.0e-06, .inf, true, null, plain or 'quoted' or "escaped" text.
std::string yaml_scalar(const Json& scalar);

}  // namespace mappings
