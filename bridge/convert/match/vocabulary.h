// How many rows of a checkpoint's embedding are vocabulary, how many Megatron's padding.
//
//   V   config.json's vocab_size       C   the checkpoint's own, V where it says none
//   C > V: rows beyond V are tokens of the checkpoint, which config.json does not count: refused
//   else: rows beyond V are padding up to the next multiple of make_vocab_size_divisible_by x tensor_model_parallel_size,
//   or up to the --vocab-rows that the conversion recorded; more than that nothing explains: refused
// --vocab-rows N decides either. Truth: megatron/training/tokenizer (_vocab_size_with_padding).
#pragma once

#include <cstdint>
#include <optional>

#include "bridge/convert/match/statement.h"

namespace bridge {

// The checkpoint's own vocabulary size where it is larger than config.json's.
std::optional<int64_t> larger_vocabulary(const Statement& statement, int64_t config_rows);

struct VocabularyRows {
  int64_t config = 0;    // V
  int64_t stored = 0;    // of the embedding
  int64_t recorded = 0;  // --vocab-rows of the conversion; 0: not known
  int64_t asked = 0;     // --vocab-rows now; 0: not given
};

// Rows that an export leaves out. kBadInput where nothing explains them, naming the option.
int64_t padding_rows(const Statement& statement, const VocabularyRows& rows);

}  // namespace bridge
