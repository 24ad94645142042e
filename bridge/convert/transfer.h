// The unit of a plan: one contiguous stretch of one output tensor, and how its bytes come about.
// A plan is a vector of these plus what the output format needs; the executor turns them into bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bridge/convert/ops.h"
#include "bridge/io/dtype.h"

namespace bridge {

struct Transfer {
  static constexpr int kForward = -1;
  std::shared_ptr<const OpLayout> layout;  // shared by all tensors of the same form
  std::vector<int32_t> inputs;  // tensor indices of the reader: HF parts, or the one logical tensor
  int32_t target = 0;           // output tensor, for messages and witnesses
  int part = kForward;          // HF part that an inverse makes
  Dtype from = Dtype::kBF16;    // dtype of the inputs
  Dtype to = Dtype::kBF16;      // dtype written
  int64_t begin = 0;            // elements of the output tensor
  int64_t end = 0;

  void runs(int64_t first, int64_t last, std::vector<Run>& out) const {
    part == kForward ? layout->forward(first, last, out) : layout->inverse(part, first, last, out);
  }
};

inline int64_t bytes_of(Dtype dtype, int64_t elements) {
  return elements * bits_of(dtype) / 8;
}

}  // namespace bridge
