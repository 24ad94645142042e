// The linear layer y = x W^T (+ b), with the weight as [out, in].
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

namespace models {

inline at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  return x.matmul(weight.t());
}

inline at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return linear(x, weight) + bias;
}

}  // namespace models
