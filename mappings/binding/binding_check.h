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

// Refuses a name that for_each_name passes to its sink twice. check_unique may call for_each_name a
// second time, which must give the same names. Memory: 8 bytes per name.
void check_unique(std::string_view what, const std::function<void(const NameSink&)>& for_each_name);

}  // namespace mappings
