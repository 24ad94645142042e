// Whether a row's op has the HF names, ranks and options that it needs, and none that mean nothing to it. What depends
// on numbers is check_shapes() of binding_check.h. Internal to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// Errors: kBadInput.
void check_op(const Row& row);

}  // namespace mappings
