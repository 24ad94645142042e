// The registry of all ops. A new op needs a file beside this one, a line here and a line in
// ops.cpp.
#pragma once

#include <string>

#include "mappings/op/op.h"

namespace mappings {

namespace ops {
extern const Op kCopy;
extern const Op kConcat;
extern const Op kQkv;
extern const Op kGatedQkv;
extern const Op kFusedQkv;
extern const Op kGroup;
extern const Op kUngroup;
extern const Op kColumns;
extern const Op kSwapColumns;
extern const Op kTranspose;
extern const Op kDeinterleave;
extern const Op kDeinterleaveRows;
extern const Op kTransposeDeinterleave;
extern const Op kVocab;
extern const Op kMinusOne;
}  // namespace ops

std::span<const Op* const> all_ops();

// Errors: kBadInput, with a list of the known ops.
const Op& op_named(std::string_view name);

// The names of the ops for which is_true returns true: "copy, concat".
std::string names_of_ops(bool (*is_true)(const Op&));

}  // namespace mappings
