#include "models/forward/causal_convolution.h"

#include <ATen/ops/conv1d.h>

#include <optional>

namespace models {

at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& kernel,
                              const at::Tensor& bias) {
  const int64_t before = kernel.size(-1) - 1;
  return at::conv1d(x.transpose(1, 2), kernel,
                    bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, /*stride=*/1,
                    /*padding=*/before, /*dilation=*/1, /*groups=*/kernel.size(0))
      .narrow(-1, 0, x.size(1))
      .transpose(1, 2);
}

}  // namespace models
