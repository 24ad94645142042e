// Checked arithmetic on sizes. Sizes come from untrusted headers, and other readers had the same
// overflow of a sum of sizes twice, because they added sizes in many places. Causeway adds and
// multiplies sizes only here. All sizes and dimensions are int64_t and never negative. Errors:
// Code::kBadInput.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bridge/io/base/error.h"

namespace bridge {

using Shape = std::vector<int64_t>;

inline int64_t checked_add(int64_t a, int64_t b, std::string_view what = "size") {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) bad_input(std::string(what) + " overflows 64 bits");
  return result;
}

inline int64_t checked_mul(int64_t a, int64_t b, std::string_view what = "size") {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) bad_input(std::string(what) + " overflows 64 bits");
  return result;
}

// Converts between integer types; a value that the other type cannot hold is bad input.
template <typename To, typename From>
To checked_cast(From value, std::string_view what = "number") {
  static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
  const To result = static_cast<To>(value);
  if (static_cast<From>(result) != value || (result < To{}) != (value < From{})) {
    bad_input(std::string(what) + " is out of range");
  }
  return result;
}

// Number of elements; 1 for a scalar. A negative dimension or an overflow of the product of the
// nonzero dimensions is bad input even where another dimension is zero.
inline int64_t element_count(const Shape& shape) {
  int64_t product = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0) bad_input("negative dimension in shape");
    if (dim == 0) {
      empty = true;
    } else {
      product = checked_mul(product, dim, "number of elements");
    }
  }
  return empty ? 0 : product;
}

}  // namespace bridge
