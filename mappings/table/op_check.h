// Checks that a row has the HF names, ranks and options that its op needs, and none that have no
// meaning for the op. settle_shapes() of binding_check.h checks what depends on numbers. Internal
// to mappings.
#pragma once

#include "mappings/table/table.h"

namespace mappings {

// Errors: kBadInput.
void check_op(const Row& row);

}  // namespace mappings
