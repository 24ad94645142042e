// Decides how many rows of a checkpoint's embedding are vocabulary and how many are Megatron's
// padding. V is config.json's vocab_size, C the checkpoint's own; C = V if it states none.
//
//   C > V   The rows beyond V are tokens that config.json does not count: refused.
//   else    The rows beyond V are padding up to the next multiple of make_vocab_size_divisible_by x
//           tensor_model_parallel_size, or up to the --vocab-rows that the conversion recorded. Any
//           further row has no explanation: refused.
//
// --vocab-rows N overrides both. Truth: megatron/training/tokenizer (_vocab_size_with_padding).
#pragma once

#include <cstdint>
#include <optional>

#include "bridge/convert/match/statement.h"

namespace bridge {

// Returns the checkpoint's own vocabulary size if it is larger than config.json's.
std::optional<int64_t> larger_vocabulary(const Statement& statement, int64_t config_rows);

struct VocabularyRows {
  int64_t config = 0;    // V
  int64_t stored = 0;    // rows of the embedding
  int64_t recorded = 0;  // --vocab-rows of the conversion; 0: not known
  int64_t asked = 0;     // --vocab-rows now; 0: not given
};

// Returns the number of rows that an export leaves out. Errors: kBadInput, which names the option,
// if nothing explains them.
int64_t padding_rows(const Statement& statement, const VocabularyRows& rows);

}  // namespace bridge
