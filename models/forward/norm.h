// RMS norm over the last axis, in fp32 inside. The kinds (NormKind) differ in where the weight's one is and in whether the
// weight is multiplied before or after the cast back.
// Truth: transformers' LlamaRMSNorm, Qwen3_5RMSNorm.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

// weight: fp32, of the last axis' size. The result has x's type.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, const NormConfig& norm);

// Without a weight.
at::Tensor rms_unit(const at::Tensor& x, double eps);

}  // namespace models
