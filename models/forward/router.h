// The router decides, in fp32, which experts a token goes to and how much each counts.
//
//   1. Scores:
//        softmax           over all experts
//        sigmoid           expert by expert
//        root of softplus  sqrt(log(1 + exp(logit))), expert by expert
//   2. Experts: the best `chosen` by score, plus the selection bias if there is one.
//        groups    If there are several groups, only experts of the best groups are chosen; a group
//                  is ranked by the sum of its best `ranked_by`.
//        by token  A table gives the experts for the token's number; the scores only give weights.
//   3. Weights: the scores without the bias. Normalized weights are divided by their sum; then all
//      are multiplied by the factor.
// Truth: transformers' Qwen3MoeTopKRouter, MixtralTopKRouter, DeepseekV3TopkRouter,
// DeepseekV4HashRouter; Megatron-Core's topk_routing_with_score_function.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"

namespace models {

struct Routing {
  at::Tensor experts;  // [tokens, chosen] int64
  at::Tensor weights;  // [tokens, chosen] fp32
};

// logits: [tokens, experts] fp32. bias: [experts] fp32, or undefined. by_token: [tokens, chosen]
// int64, or undefined.
Routing route(const RouterConfig& router, const at::Tensor& logits, const at::Tensor& bias,
              const at::Tensor& by_token = {});

}  // namespace models
