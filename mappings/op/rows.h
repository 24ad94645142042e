// Rules that ops share: tensors joined by rows, rows in groups, rows split under suffixes. Internal to mappings/op, but for
// split_misfit(), which holds for the tensor of any op.
#pragma once

#include "mappings/op/op.h"

namespace mappings {

// Of axis 0; 0 for a scalar.
int64_t rows_of(const bridge::Shape& shape);

// The parts are equal but for their rows.
Misfit join_misfit(const Operands& operands);
bridge::Shape joined_shape(const Operands& operands);

// The rows of every part divide into `groups` of them, which are `what` ("query groups") in messages.
Misfit groups_misfit(const Operands& operands, int64_t groups, std::string_view what);
// Parts that can be joined, by query group: numbers.groups is positive and divides their rows.
Misfit query_groups_misfit(const Operands& operands);

// For each of `groups` groups its rows of the first part, then of the second, ...
Strands rows_by_group(const Operands& operands, int64_t groups);

// The parts of numbers.split have rows, in whole for each of `groups` groups, and these add up to `rows`.
Misfit split_misfit(const std::vector<SplitPart>& split, int64_t rows, int64_t groups = 1);

}  // namespace mappings
