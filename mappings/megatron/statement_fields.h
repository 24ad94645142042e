// Which differences between what a checkpoint says of itself and what a config.json means count, and how.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mappings/expr/expr.h"

namespace mappings {

enum class FieldKind : uint8_t {
  kLayout,  // decides which bytes are where, or what they stand for: no config.json can make up for it
  kValue,   // a number of the configuration: config.json can take the checkpoint's
  kListed,  // of training only
};

struct FieldDifference {
  std::string field;
  FieldKind kind;
  Json checkpoint;  // null where the feature is off
  Json config;
};

// The fields in which two statements differ, in a fixed order; `config` is complete, what `checkpoint` does not say is
// not compared. Numbers compare as numbers. seq_length differs where the checkpoint's is larger. mtp_num_layers is not
// among them: what to do about it is a question of tensors.
std::vector<FieldDifference> compare_statements(const Json& checkpoint, const Json& config);

// Fields of kLayout that both of two statements about one checkpoint make, unlike: `checkpoint` is of the first, `config`
// of the other.
std::vector<FieldDifference> contradictions(const Json& one, const Json& other);

// "null" and numbers as a user writes them.
std::string field_text(const Json& value);

}  // namespace mappings
