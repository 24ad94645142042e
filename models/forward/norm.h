// RMS norm over the last axis, computed in fp32. The kinds (NormKind) differ in whether 1 is added
// to the weight and in whether the weight multiplies before or after the cast back.
// Truth: transformers' LlamaRMSNorm, Qwen3_5RMSNorm.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

// weight: fp32, as long as the last axis. The result has x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const NormConfig& norm);

// Without a weight.
at::Tensor rms_unit(const at::Tensor& x, double eps);

}  // namespace models
