// The names of the ops in a mapping table. Internal to mappings, but for op_name(), which table.h declares.
#pragma once

#include <string>

#include "mappings/table/table.h"

namespace mappings {

// Errors: kBadInput naming the ops there are.
Op op_of(const std::string& name);

}  // namespace mappings
