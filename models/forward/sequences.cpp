#include "models/forward/sequences.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace models {

void check_offsets(const Offsets& offsets, int64_t tokens) {
  if (offsets.size() < 2 || offsets.front() != 0) {
    bridge::bad_input("the offsets of sequences begin with 0 and end with the number of tokens");
  }
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      bridge::bad_input(fmt::format("sequence {} begins at {} and ends at {}", i - 1,
                                    offsets[i - 1], offsets[i]));
    }
  }
  if (offsets.back() != tokens) {
    bridge::bad_input(fmt::format("sequence {} ends at {}, but there are {} tokens",
                                  offsets.size() - 2, offsets.back(), tokens));
  }
}

Rolled rolled_left(const at::Tensor& x, const Offsets& offsets) {
  const at::Tensor values = at::zeros_like(x);
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t first = offsets[i - 1];
    const int64_t kept = offsets[i] - first - 1;
    if (kept > 0) values.narrow(-1, first, kept).copy_(x.narrow(-1, first + 1, kept));
  }
  return {values, values.sum()};
}

at::Tensor places_in_sequence(const Offsets& offsets) {
  at::Tensor places = at::empty({offsets.back()}, at::kLong);
  int64_t* place = places.mutable_data_ptr<int64_t>();
  for (size_t i = 1; i < offsets.size(); ++i) {
    for (int64_t token = offsets[i - 1]; token < offsets[i]; ++token) {
      place[token] = token - offsets[i - 1];
    }
  }
  return places;
}

}  // namespace models
