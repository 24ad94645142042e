// Values compared as fp32 bits: a NaN is itself, 0 is not -0, and BF16 is what it becomes in fp32.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// Bool, of the shape of both.
inline at::Tensor same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kFloat).view(at::kInt).eq(b.to(at::kFloat).view(at::kInt));
}

inline int64_t count_different(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() - same_bits(a, b).sum().item().toLong();
}

// |a - b| in fp32; 0 where the bits are the same, infinities included; not a number where they are not and one is none.
inline at::Tensor distance_of(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor distance = (a.to(at::kFloat) - b.to(at::kFloat)).abs();
  return distance.masked_fill(same_bits(a, b), 0);
}

}  // namespace models
