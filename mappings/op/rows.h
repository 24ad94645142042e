// Rules that ops share: tensors joined by rows, rows in groups, rows split under suffixes. Internal
// to mappings/op, except split_misfit(), which applies to the tensor of any op.
#pragma once

#include "mappings/op/op.h"

namespace mappings {

// The size of axis 0; 0 for a scalar.
int64_t rows_of(const bridge::Shape& shape);

// Requires that the parts have equal shapes except for their rows.
Misfit join_misfit(const Operands& operands);
bridge::Shape joined_shape(const Operands& operands);

// Requires that the rows of every part divide into `groups` groups; messages call the groups `what`
// ("query groups").
Misfit groups_misfit(const Operands& operands, int64_t groups, std::string_view what);
// Requires that the parts can be joined by query group: numbers.groups is positive and divides
// their rows.
Misfit query_groups_misfit(const Operands& operands);
// Requires that numbers.heads is positive and divides into numbers.groups, which is positive.
Misfit heads_misfit(const OpNumbers& numbers);

// The shape of the only part with its last two axes exchanged.
bridge::Shape transposed_shape(const Operands& operands);
// The number of elements on all axes but the last `but`, which the shape has.
int64_t leading_elements(const bridge::Shape& shape, size_t but);

// For each of `groups` groups: its rows of the first part, then of the second, ...
Strands rows_by_group(const Operands& operands, int64_t groups);

// Requires that every part of `split` has rows, that `groups` divides them, and that they add up to
// `rows`.
Misfit split_misfit(const std::vector<SplitPart>& split, int64_t rows, int64_t groups = 1);

}  // namespace mappings
