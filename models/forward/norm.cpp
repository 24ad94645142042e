#include "models/forward/norm.h"

#include <ATen/TensorOperators.h>

#include "bridge/io/base/error.h"

namespace models {

namespace {

// In fp32.
at::Tensor by_rms(const at::Tensor& x, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  return wide * (wide.pow(2).mean(-1, /*keepdim=*/true) + eps).rsqrt();
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const NormConfig& norm) {
  const at::Tensor normed = by_rms(x, norm.eps);
  switch (norm.kind) {
    case NormKind::kCastThenScale:
      return weight.to(x.scalar_type()) * normed.to(x.scalar_type());
    case NormKind::kScaleThenCast:
      return (weight * normed).to(x.scalar_type());
    case NormKind::kZeroCentred:
      return (normed * (weight + 1)).to(x.scalar_type());
    case NormKind::kLayer:
    case NormKind::kLayerZeroCentred:
      break;
  }
  bridge::internal_error("LayerNorm without a bias");
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const NormConfig& norm) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor normed = by_rms(wide - wide.mean(-1, /*keepdim=*/true), norm.eps);
  const at::Tensor scale = norm.kind == NormKind::kLayerZeroCentred ? weight + 1 : weight;
  return (normed * scale + bias).to(x.scalar_type());
}

at::Tensor group_rms_norm(const at::Tensor& x, const at::Tensor& weight, int64_t groups,
                          double eps) {
  return by_rms(x.unflatten(-1, {groups, -1}), eps).flatten(-2) * weight;
}

at::Tensor rms_unit(const at::Tensor& x, double eps) {
  return by_rms(x, eps).to(x.scalar_type());
}

}  // namespace models
