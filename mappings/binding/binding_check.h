// The checks that a binding must pass before a plan uses it: shapes fit the ops, and no name occurs
// twice. Internal to mappings.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "mappings/binding/logical_tensor.h"
#include "mappings/table/table.h"

namespace mappings {

constexpr int64_t kMostLayers = 100'000;  // in a family

// Checks the shape rules of the op and of the row's chunks and split with concrete numbers, and
// fills in the rows of a split into equal parts. Errors: kBadInput.
void settle_shapes(LogicalTensor& tensor);

using NameSink = std::function<void(const std::string&)>;
// Passes the names of both sides to their sinks in one walk, because the walk costs more than the
// check.
using NameWalk = std::function<void(const NameSink& megatron, const NameSink& hf)>;

// Refuses a name that the walk passes to one sink twice. file: that of the table, as printed.
// check_unique may walk again, which must give the same names. Memory: 8 bytes per name. Errors:
// kBadInput.
void check_unique(std::string_view file, const NameWalk& walk);

}  // namespace mappings
