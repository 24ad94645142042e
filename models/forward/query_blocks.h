// Attention takes queries in blocks, so that the scores in memory are bounded whatever the prompt's
// length: the memory of a prompt grows with its tokens, not with their square. A block skips the
// keys that none of its queries may see.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace models {

constexpr int64_t kMostScores = 1 << 24;  // of a block, 64 MiB in fp32

// Queries first .. last - 1, which see at most the keys first_key .. last - 1.
struct QueryBlock {
  int64_t first = 0;
  int64_t last = 0;
  int64_t first_key = 0;

  int64_t queries() const { return last - first; }
  int64_t keys() const { return last - first_key; }
  // The part of x along an axis that belongs to the queries or keys of the block.
  at::Tensor queries_of(const at::Tensor& x, int64_t axis) const;
  at::Tensor keys_of(const at::Tensor& x, int64_t axis) const;
};

// The blocks in order, all of one size except the last. window: how many tokens a query sees,
// itself the last; 0: all. heads: the number of heads with scores of their own, over all sequences.
// more: the number of keys besides the tokens.
std::vector<QueryBlock> query_blocks(int64_t tokens, int64_t window, int64_t heads,
                                     int64_t more = 0);

// Bool [queries, keys]: true if the query sees the key.
at::Tensor visible_keys(const QueryBlock& block, int64_t window, at::Device device);

// The parts, one after the other; a single one is not copied.
at::Tensor joined_blocks(const std::vector<at::Tensor>& parts, int64_t axis);

}  // namespace models
