// The unit of a plan: one contiguous stretch of one output tensor, and how its bytes are made.
// A plan is a vector of transfers plus what the output format needs; the executor turns them into
// bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "bridge/convert/algebra/block_scales.h"
#include "bridge/convert/algebra/op_layout.h"
#include "bridge/io/number/dtype.h"

namespace bridge {

inline int64_t bytes_of(Dtype dtype, int64_t elements) {
  return elements * bits_of(dtype) / 8;
}

// A tensor that a transfer reads: an HF part, or the one logical tensor.
struct TransferInput {
  int32_t tensor = 0;  // index in the reader
  Dtype dtype = Dtype::kBF16;
  BlockScales scales;  // their tensor is an index in the reader too
};

// How an output is quantized again (requantize.h).
struct Requantize {
  BlockScales source;  // the scales that its blocks had
  // The tensor of the reader that holds the elements that the blocks had; -1: not available.
  int32_t source_codes = -1;
  int32_t scale_target = 0;   // output that receives the scales
  bool power_of_two = false;  // whether a new scale is rounded up to a power of two
};

struct Transfer {
  static constexpr int kForward = -1;
  std::shared_ptr<const OpLayout> layout;  // shared by all tensors of the same form
  std::vector<TransferInput> inputs;
  int32_t target = 0;       // output tensor, for messages and witnesses
  int part = kForward;      // HF part that an inverse makes
  Dtype to = Dtype::kBF16;  // dtype written
  int64_t begin = 0;        // elements of the output tensor
  int64_t end = 0;
  std::shared_ptr<const Requantize> requantize;  // null: converted element by element

  void runs(int64_t first, int64_t last, std::vector<Run>& out) const {
    part == kForward ? layout->forward(first, last, out) : layout->inverse(part, first, last, out);
  }
  // True if the output is made box by box: its neighbours lie apart in the only input.
  bool scattered() const {
    return layout->scattered() && !requantize && !inputs[0].scales.quantized();
  }
  // The box that begins at element `first` of a scattered output (op_layout.h).
  Box box(int64_t first, int64_t last, int64_t most) const {
    return part == kForward ? layout->forward_box(first, last, most)
                            : layout->inverse_box(first, last, most);
  }
  ValueChange value_change() const {
    return part == kForward ? layout->value_change() : inverse_of(layout->value_change());
  }
  // True if the output's bytes are the inputs' bytes unchanged.
  bool verbatim() const {
    return value_change().apply == nullptr &&
           std::all_of(inputs.begin(), inputs.end(), [&](const TransferInput& input) {
             return input.dtype == to && !input.scales.quantized();
           });
  }
  // The bits of one element on the wider side.
  int widest_bits() const {
    int bits = bits_of(to);
    for (const TransferInput& input : inputs) bits = std::max(bits, bits_of(input.dtype));
    return bits;
  }
};

}  // namespace bridge
