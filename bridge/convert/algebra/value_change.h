// What becomes of values on their way between the two sides, beyond their place.
//
//   none       the value, in the other dtype
//   minus one  Megatron = HF - 1, for a norm's weight that Megatron stores around zero
//              (layernorm_zero_centered_gamma); the inverse is plus one
//
// One is taken or added in F32, and the result is rounded once to the dtype it is stored in, as by
// (weight.float() - 1).to(dtype) of torch. Neither undoes the other where that rounds, nor for -0 and signalling NaNs:
// what does not come back is a witness, as for casts. Infinities and the payloads of quiet NaNs stay.
// Truth: transformers' Qwen3NextRMSNormGated (ordinary weight), megatron/core/transformer/torch_norm.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bridge/io/number/dtype.h"

namespace bridge {

enum class ValueChange { kNone, kMinusOne, kPlusOne };

ValueChange inverse_of(ValueChange change);

// in and out hold equally many elements and do not overlap. overflowed grows by the number of finite values that became
// infinite, of integers that do not fit. Thread-safe.
void change_values(ValueChange change, Dtype from, std::span<const std::byte> in, Dtype to,
                   std::span<std::byte> out, int64_t& overflowed);

}  // namespace bridge
