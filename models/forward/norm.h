// RMS norm or LayerNorm over the last axis, computed in fp32. The kinds (NormKind) differ in
// whether 1 is added to the weight and in whether the weight multiplies before or after the cast
// back.
// Truth: transformers' LlamaRMSNorm, Qwen3_5RMSNorm, Gemma2RMSNorm, NemotronLayerNorm1P; torch's
// LayerNorm.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

// The kinds without a bias. weight: fp32, as long as the last axis. The result has x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const NormConfig& norm);

// The kinds with a bias: subtracts the mean, divides by the standard deviation, which eps is added
// to under the root. weight and bias: fp32, as long as the last axis. The result has x's type.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const NormConfig& norm);

// The last axis is cut into equal groups, each of which has a mean of its own. weight: fp32, as
// long as the last axis. The result is fp32.
at::Tensor group_rms_norm(const at::Tensor& x, const at::Tensor& weight, int64_t groups,
                          double eps);

// Without a weight.
at::Tensor rms_unit(const at::Tensor& x, double eps);

}  // namespace models
