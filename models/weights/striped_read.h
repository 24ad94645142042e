// A large read by several threads: a copy out of the page cache is a processor's work, and a disk
// answers several requests at once faster than one after the other.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace models {

constexpr int64_t kStripeBytes = 16 << 20;

// Calls read(first, last) for parts of the rows 0 .. rows - 1 that cover each row once, with
// LibTorch's threads where there are several stripes. An exception of a part leaves this function
// when all parts have ended.
template <typename Read>
void read_in_stripes(int64_t rows, int64_t row_bytes, const Read& read,
                     int64_t stripe_bytes = kStripeBytes) {
  const int64_t least = std::max<int64_t>(1, stripe_bytes / std::max<int64_t>(1, row_bytes));
  at::parallel_for(0, rows, least, read);
}

}  // namespace models
