// Declarations that the forms of the block codec share with each other and with their tests. No
// other file includes this one.
#pragma once

#include <cstddef>

#include "bridge/io/number/block_codec.h"
#include "bridge/io/number/small_float.h"

namespace bridge {

[[noreturn]] void no_such_format(Dtype format);

// Calls fn(E4m3{}) or fn(E2m1{}); other formats are an internal error.
template <typename Fn>
auto with_format(Dtype format, const Fn& fn) {
  switch (format) {
    case Dtype::kF8E4M3:
      return fn(E4m3{});
    case Dtype::kF4E2M1:
      return fn(E2m1{});
    default:
      no_such_format(format);
  }
}

// Bytes of one value; types that quantized elements cannot be dequantized to are an internal error.
size_t value_size(Dtype dtype);

// The number of elements of a run. Spans whose sizes do not match are an internal error.
size_t run_length(Dtype format, size_t code_bytes, Dtype dtype, size_t value_bytes);

const BlockCodec& avx2_block_codec();  // only where has_avx2()

}  // namespace bridge
