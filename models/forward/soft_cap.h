// Soft caps: values keep their order and stay between -cap and cap.
// Truth: transformers' modeling_gemma2.py (attn_logit_softcapping, final_logit_softcapping).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

namespace models {

// cap * tanh(x / cap) of every element, in x's type; cap 0: x itself.
inline at::Tensor soft_cap(const at::Tensor& x, double cap) {
  return cap == 0 ? x : (x / cap).tanh() * cap;
}

}  // namespace models
