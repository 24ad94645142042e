// Which experts a token goes to, and how much each counts. In fp32.
//
//   softmax   scores over all experts; the best `chosen`
//   sigmoid   scores one by one
//   groups    where there are several, experts are chosen from the best groups only, a group ranked by the sum of its
//             best `ranked_by`
//   root of softplus: sqrt(log(1 + exp(logit))), one by one
//   by token  the experts are those that a table gives for the token's number; the scores give the weights only
//   the selection bias is added to the scores for ranking and choosing; the weights are the bare scores
//   normalized weights are divided by their sum; then all are multiplied by the factor
// Truth: transformers' Qwen3MoeTopKRouter, MixtralTopKRouter, DeepseekV3TopkRouter, DeepseekV4HashRouter; Megatron-Core's
// topk_routing_with_score_function.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

struct Routing {
  at::Tensor experts;  // [tokens, chosen] int64
  at::Tensor weights;  // [tokens, chosen] fp32
};

// logits: [tokens, experts] fp32. bias: [experts] fp32, or undefined. by_token: [tokens, chosen] int64, or undefined.
Routing route(const RouterConfig& router, const at::Tensor& logits, const at::Tensor& bias,
              const at::Tensor& by_token = {});

}  // namespace models
