// What becomes of values on their way between the two sides, beyond their place: their dtype, and what the op changes.
//
// A change (mappings/op) is computed in F32, and the result is rounded once to the dtype it is stored in, as by
// (weight.float() - 1).to(dtype) of torch. The inverse does not undo it where that rounds, nor for -0 and signalling NaNs:
// what does not come back is a witness, as for casts. Infinities and the payloads of quiet NaNs stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bridge/io/number/dtype.h"
#include "mappings/op/op.h"

namespace bridge {

using mappings::ValueChange;

// in and out hold equally many elements and do not overlap. overflowed grows by the number of finite values that became
// infinite, of integers that do not fit. Thread-safe.
void change_values(ValueChange change, Dtype from, std::span<const std::byte> in, Dtype to,
                   std::span<std::byte> out, int64_t& overflowed);

}  // namespace bridge
