// Values compared as fp32 bits: a NaN is itself, 0 is not -0, and BF16 is what it becomes in fp32.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstring>

namespace models {

// Bool, of the shape of both.
inline at::Tensor same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kFloat).view(at::kInt).eq(b.to(at::kFloat).view(at::kInt));
}

// As they are stored, on the CPU; what is equal usually is so already there, and nothing need be widened.
inline bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.is_cpu() && b.is_cpu() && a.is_contiguous() &&
         b.is_contiguous() && a.numel() == b.numel() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

inline int64_t count_different(const at::Tensor& a, const at::Tensor& b) {
  if (same_bytes(a, b)) return 0;
  return a.numel() - same_bits(a, b).sum().item().toLong();
}

// |a - b| in fp32; 0 where the bits are the same, infinities included; not a number where they are not and one is none.
inline at::Tensor distance_of(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor distance = (a.to(at::kFloat) - b.to(at::kFloat)).abs();
  return distance.masked_fill(same_bits(a, b), 0);
}

// A NaN stays.
inline void keep_larger(double& largest, double value) {
  if (!(value <= largest)) largest = value;
}

}  // namespace models
