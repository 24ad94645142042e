#include "models/forward/query_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <algorithm>

namespace models {

at::Tensor QueryBlock::queries_of(const at::Tensor& x, int64_t axis) const {
  return x.narrow(axis, first, queries());
}

at::Tensor QueryBlock::keys_of(const at::Tensor& x, int64_t axis) const {
  return x.narrow(axis, first_key, keys());
}

std::vector<QueryBlock> query_blocks(int64_t tokens, int64_t window, int64_t heads, int64_t more) {
  const auto keys_of = [&](int64_t queries) {
    return (window > 0 ? std::min(tokens, window - 1 + queries) : tokens) + more;
  };
  int64_t step = tokens;
  while (step > 1 && heads * step * keys_of(step) > kMostScores) step = (step + 1) / 2;
  std::vector<QueryBlock> blocks;
  for (int64_t first = 0; first < tokens; first += step) {
    const int64_t first_key = window > 0 ? std::max<int64_t>(0, first + 1 - window) : 0;
    blocks.push_back({first, std::min(first + step, tokens), first_key});
  }
  return blocks;
}

at::Tensor visible_keys(const QueryBlock& block, int64_t window, at::Device device) {
  const at::TensorOptions numbers = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor before = at::arange(block.first, block.last, numbers).unsqueeze(1) -
                            at::arange(block.first_key, block.last, numbers);
  const at::Tensor visible = before >= 0;
  return window > 0 ? visible.logical_and(before < window) : visible;
}

at::Tensor joined_blocks(const std::vector<at::Tensor>& parts, int64_t axis) {
  return parts.size() == 1 ? parts[0] : at::cat(parts, axis);
}

}  // namespace models
