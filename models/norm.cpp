#include "models/norm.h"

#include <ATen/TensorOperators.h>

namespace models {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const NormConfig& norm) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor normed = wide * (wide.pow(2).mean(-1, /*keepdim=*/true) + norm.eps).rsqrt();
  switch (norm.kind) {
    case NormKind::kCastThenScale:
      return weight.to(x.scalar_type()) * normed.to(x.scalar_type());
    case NormKind::kZeroCentred:
      return (normed * (weight + 1)).to(x.scalar_type());
  }
  return {};
}

}  // namespace models
