// Parses a regular expression of Python's (python_regex.h) into its tree. Internal to that.
#pragma once

#include <string_view>

#include "bridge/io/base/python_regex.h"

namespace bridge {

// Errors: as PythonRegex's constructor.
PythonRegex::Node parse_python_regex(std::string_view pattern);

}  // namespace bridge
