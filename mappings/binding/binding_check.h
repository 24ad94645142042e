// What a binding must satisfy before anyone plans with it. Internal to mappings.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "mappings/binding/logical_tensor.h"
#include "mappings/table/table.h"

namespace mappings {

constexpr int64_t kMostLayers = 100'000;  // of a family

// The op's shape rule with concrete numbers, and that of the row's chunks and split. Fills in the rows of a split into
// equal parts. Errors: kBadInput.
void settle_shapes(LogicalTensor& tensor);

using NameSink = std::function<void(const std::string&)>;

// Refuses a name that for_each_name passes to its sink twice. for_each_name may be called again and
// must then give the same names. Memory: 8 bytes a name.
void check_unique(std::string_view what, const std::function<void(const NameSink&)>& for_each_name);

}  // namespace mappings
