// MTP tensors that nothing promises, where the table drops them by name (mtp_uncounted).
#pragma once

#include <vector>

#include "bridge/io/hf_folder.h"
#include "mappings/table.h"

namespace bridge {

// Those that the table's rows and drops name in depths beyond the promised ones, each with its scales; none where the
// table has no rule for them. What else lies there is not among them.
std::vector<const HfTensor*> uncounted_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                           size_t dialect);

}  // namespace bridge
