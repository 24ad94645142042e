// The short convolution along a sequence that linear attention and Mamba-2 have before their state.
#pragma once

#include <ATen/core/Tensor.h>

namespace models {

// x: [B, S, channels]; kernel: [channels, 1, taps]; bias: undefined, or [channels]. For each
// channel by itself, y_t = bias + sum over i of kernel_i x_(t - taps + 1 + i), with zeros before
// the first token.
at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& kernel,
                              const at::Tensor& bias = {});

}  // namespace models
