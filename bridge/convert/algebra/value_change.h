// Changes the values of elements between the two sides: their dtype, and the arithmetic of the op.
//
// A change (mappings/op) is computed in F32, and the result is rounded once to the dtype it is
// stored in, as (weight.float() - 1).to(dtype) of torch does. The inverse does not undo a change
// that rounds, nor one of -0 or of a signalling NaN: an element that does not come back is a
// witness, as for casts. Infinities and the payloads of quiet NaNs stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bridge/io/number/dtype.h"
#include "mappings/op/op.h"

namespace bridge {

using mappings::ValueChange;

// in and out hold equally many elements and do not overlap. overflowed grows by the number of
// finite values that became infinite and of integers that do not fit. Thread-safe.
void change_values(ValueChange change, Dtype from, std::span<const std::byte> in, Dtype to,
                   std::span<std::byte> out, int64_t& overflowed);

}  // namespace bridge
