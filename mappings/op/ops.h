// The registry: every op there is. A new op is a file beside this one, a line here and one in ops.cpp.
#pragma once

#include <string>

#include "mappings/op/op.h"

namespace mappings {

namespace ops {
extern const Op kCopy;
extern const Op kConcat;
extern const Op kQkv;
extern const Op kGatedQkv;
extern const Op kGroup;
extern const Op kUngroup;
extern const Op kColumns;
extern const Op kVocab;
extern const Op kMinusOne;
}  // namespace ops

std::span<const Op* const> all_ops();

// Errors: kBadInput naming the ops there are.
const Op& op_named(std::string_view name);

// "copy, concat": the names of those of which it is true.
std::string names_of_ops(bool (*is_true)(const Op&));

}  // namespace mappings
