// The Sinkhorn iteration: makes matrices [..., n, n] whose columns sum to one, and whose rows
// nearly do, out of logits.
//
//   DeepSeek       softmax of each row, + eps; each column is divided by (its sum + eps), and then,
//                  steps - 1 times, each row and each column
//   Megatron main  exp(logit - the largest of its row); then, steps times, each row and each column
//                  is divided by its sum, which counts as eps where it is smaller
// Its backward pass keeps the logits alone and computes the steps again. The largest logit of a row
// counts as a constant there, which is exact: the first division cancels every factor of a row.
// Truth: DeepSeek-V4 inference/kernel.py (hc_split_sinkhorn); Megatron-LM main and dev,
// hyper_connection.py (SinkhornKnopp); Megatron-LM pull request 4531.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

// The steps as they are; autograd keeps what each of them needs. Safe to call from several threads.
at::Tensor sinkhorn_steps(const HyperConnections& config, const at::Tensor& logits);

// The same values, bit for bit. The gradient is computed from the logits again; a gradient of the
// gradient is not there.
at::Tensor sinkhorn(const HyperConnections& config, const at::Tensor& logits);

}  // namespace models
