// Comparison of values by their fp32 bits: a NaN equals itself, 0 differs from -0, and a BF16 value
// counts as the fp32 value that it widens to.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace models {

// A bool tensor of the shape that both have.
inline at::Tensor same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kFloat).view(at::kInt).eq(b.to(at::kFloat).view(at::kInt));
}

// Compares the stored bytes of two CPU tensors. Equal tensors are usually equal in this form
// already, and then neither has to be widened.
inline bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.is_cpu() && b.is_cpu() && a.is_contiguous() &&
         b.is_contiguous() && a.numel() == b.numel() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

// int64, on the device of both. Does not wait for it.
inline at::Tensor count_of_different(const at::Tensor& a, const at::Tensor& b) {
  return same_bits(a, b).logical_not().sum();
}

inline int64_t count_different(const at::Tensor& a, const at::Tensor& b) {
  return same_bytes(a, b) ? 0 : count_of_different(a, b).item().toLong();
}

// |a - b| in fp32: 0 where the bits are the same (equal infinities too), NaN where they differ and
// either value is NaN.
inline at::Tensor distance_of(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor distance = (a.to(at::kFloat) - b.to(at::kFloat)).abs();
  return distance.masked_fill(same_bits(a, b), 0);
}

// Once `largest` is NaN, it stays NaN.
inline void keep_larger(double& largest, double value) {
  if (value > largest || std::isnan(value)) largest = value;
}

}  // namespace models
