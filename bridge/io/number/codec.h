// Conversions between the plain floating types: F16, BF16, F32, F64.
//
//   - rounds to nearest, ties to even, exactly once (F64 -> BF16 does not pass through F32);
//   - subnormals are values like any other; infinities and the signs of zeros and NaNs are kept;
//   - a NaN stays a NaN: the payload bits that fit are kept and the quiet bit is set;
//   - a finite value that becomes an infinity is counted.
// Truth: IEEE 754-2019, 4.3.1 and 6.2.3. torch rounds the same way, but makes every NaN 0x7fc0
// when it narrows to BF16 and keeps signalling NaNs when it widens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bridge/io/number/dtype.h"

namespace bridge {

// Converts every element of in. in and out hold equally many elements, do not overlap, and need no
// alignment; little-endian, as in the files. Equal types are copied bit for bit. overflowed grows
// by the number of finite values that became infinite. Types other than plain floats, and spans
// that do not match, are internal errors. Thread-safe. Uses AVX2 where the processor has it.
void cast_floats(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                 int64_t& overflowed);

// Converts I32 and I64, the types of tables of ids. overflowed grows by the number of values that
// do not fit; otherwise like cast_floats.
void cast_integers(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                   int64_t& overflowed);

// True if cast_floats or cast_integers takes these types.
bool can_cast(Dtype from, Dtype to);
// Calls cast_floats or cast_integers, whichever takes these types.
void cast_plain(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                int64_t& overflowed);

// Gives the same bits without AVX2: the reference of the tests.
void cast_floats_portable(Dtype from, std::span<const std::byte> in, Dtype to,
                          std::span<std::byte> out, int64_t& overflowed);

}  // namespace bridge
