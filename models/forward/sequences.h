// The sequences that lie one after the other in a packed row, and the shift that gives every token
// its successor as a target.
//
//   offsets   sequence i is the tokens offsets[i] .. offsets[i + 1] - 1: Megatron-Core's
//             `cu_seqlens`. A row that is one sequence of S tokens has {0, S}
//   shift     every sequence by itself moves one place to the left, and 0 comes in at its last
//             place: [1, 2, 3, 4, 5] with {0, 3, 5} becomes [2, 3, 0, 5, 0]
// If sequences are padded to a length, the offsets are those of the padded sequences: attention and
// shift then agree on where a sequence ends.
// Truth: megatron/core/transformer/multi_token_prediction.py (roll_tensor,
// _roll_tensor_packed_seq); Megatron-LM pull request 2043.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace models {

using Offsets = std::vector<int64_t>;

// Refuses offsets that do not begin with 0, fall, or do not end with the number of tokens
// (kBadInput, naming the sequence). Sequences may be empty.
void check_offsets(const Offsets& offsets, int64_t tokens);

struct Rolled {
  at::Tensor values;  // of the shape and type of what was shifted
  at::Tensor sum;     // of `values`: int64 for integers and booleans
};

// x: [..., T], of any type, on any device; offsets must have passed check_offsets for T. x is not
// changed. Pure, so safe to call from several threads.
Rolled rolled_left(const at::Tensor& x, const Offsets& offsets);

// The place of every token in its sequence, [T] int64 on the CPU.
at::Tensor places_in_sequence(const Offsets& offsets);

}  // namespace models
