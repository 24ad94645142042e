// The losses of a training step: of the main head, and of every multi-token prediction depth
// through the same output layer.
//
//   targets   labels[i] is the token that should follow token i, and mask[i] what it counts: 0 or
//             1, or another weight. A label -100 does not count. Without labels, a token's label is
//             the next token of its sequence, whose last place does not count; a mask that is given
//             without labels applies to these
//   depth k   (from 1) labels and mask are shifted once more for each depth, every sequence by
//             itself (models/forward/sequences.h): 0 comes in, so the last k places do not count
//   loss      sum over tokens of mask * cross entropy, and the count sum(mask)
//   step      main.sum / main.count, or 0 where nothing counts,
//               + sum over the D depths of scale / D * sum_k / max(count_k, 1)
// Megatron-Core's calculate_per_token_loss multiplies all of the step by the main count and divides
// the gradients by it at the end, so it gives the same step.
// Truth: megatron/core/transformer/multi_token_prediction.py (process_mtp_loss, 0.19); NeMo
// Automodel pull request 2191, whose loss of a depth is sum_k / main.count: the report has both
// numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/forward/sequences.h"

namespace models {

constexpr int64_t kIgnoredLabel = -100;

struct Targets {
  at::Tensor labels;  // [B, S] int64
  at::Tensor mask;    // [B, S] fp32
};

// ids: [B, S] int64. labels: [B, S] int64 or undefined; mask: [B, S] or undefined. offsets: the
// sequences of the row; empty: every row is one. ends: for each sequence, where its padding
// begins; empty: nothing is padded.
Targets targets_of(const at::Tensor& ids, const at::Tensor& labels, const at::Tensor& mask,
                   const Offsets& offsets, const std::vector<int64_t>& ends);

// The targets of the next depth.
Targets rolled_left(const Targets& targets, const Offsets& offsets);

struct HeadLoss {
  at::Tensor sum;    // of one number, through which gradients pass
  at::Tensor count;  // of one number
};

// hidden: [B, S, D], the input of the head; output: [V, D], the output layer; logit_cap:
// ModelConfig::logit_cap. Errors: kBadInput for a label that counts and is outside the vocabulary.
HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& output, const Targets& targets,
                   double logit_cap = 0);

// The loss of the step.
at::Tensor step_loss(const HeadLoss& main, const std::vector<HeadLoss>& depths, double scale);

}  // namespace models
