// Decides which differences matter between what a checkpoint says about itself and what a
// config.json means, and how they matter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mappings/expr/expr.h"

namespace mappings {

enum class FieldKind : uint8_t {
  // Decides where bytes lie or what they stand for; no config.json can make up for a difference.
  kLayout,
  kValue,   // a number of the configuration; config.json can take the checkpoint's
  kListed,  // affects only training
};

struct FieldDifference {
  std::string field;
  FieldKind kind;
  Json checkpoint;  // null where the feature is off
  Json config;
};

// Returns the fields in which two statements differ, in a fixed order. `config` is complete; fields
// that `checkpoint` does not mention are not compared. Numbers compare as numbers, reals up to
// rounding. seq_length differs if the checkpoint's is larger. The result never contains
// mtp_num_layers, because the tensors decide what to do about it.
std::vector<FieldDifference> compare_statements(const Json& checkpoint, const Json& config);

// Returns the fields of kLayout that two statements about one checkpoint both mention but with
// different values: `checkpoint` holds the value of the first, `config` that of the other.
std::vector<FieldDifference> contradictions(const Json& one, const Json& other);

// Formats null and numbers as a user writes them.
std::string field_text(const Json& value);

}  // namespace mappings
