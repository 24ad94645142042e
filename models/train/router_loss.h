// The auxiliary loss of routers, which pulls the experts' shares of the tokens together.
//
//   1. scores, fp32: softmax of the logits; sigmoid or root of softplus divided by their sum +
//      1e-20
//   2. each token counts for its `chosen` best experts by these scores: without groups, selection
//      bias or table
//   3. loss = E * weight / (chosen * T^2) * sum over experts of (sum of its scores * its count)
// Tokens that are left out have no score, count for no expert, and are not among the T.
// Megatron-Core's aux_loss is this over all tokens, seq_aux_loss the mean of it over the rows of a
// batch (a packed row is one), and global_aux_loss on one rank and in the first microbatch is
// aux_loss. Other types have no loss. A step adds that of every layer, MTP depths included.
// Truth: megatron/core/transformer/moe/moe_utils.py (switch_load_balancing_loss_func,
// compute_routing_scores_for_aux_loss), router.py.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/model/model_config.h"
#include "models/weights/training_settings.h"

namespace models {

// True if a router of this type has a loss.
bool has_router_loss(const TrainingSettings& settings);

// logits: [tokens of a row, experts] fp32, for one row; left_out: [tokens] bool or undefined. Gives
// one number, through which gradients pass.
at::Tensor router_loss(const RouterConfig& router, const at::Tensor& logits,
                       const at::Tensor& left_out, double weight);

}  // namespace models
