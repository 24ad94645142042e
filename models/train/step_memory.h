// The memory of a training step, known before it runs.
//
//   weights      every value that the pass reads, in fp32, and its gradient
//   gradient     one tensor of the checkpoint at a time, put together in its own shape
//   activations  what autograd keeps for the backward pass, by layer: inputs and results of every
//                linear, of a token's experts only; the scores of attention; the streams of
//                hyper-connections; for every head the logits, three times
// The activations are an estimate, from above for models of usual sizes.
#pragma once

#include <cstdint>
#include <vector>

#include "models/weights/weights.h"

namespace models {

struct StepMemory {
  int64_t weights = 0;  // bytes
  int64_t activations = 0;
  int64_t all() const { return weights + activations; }
};

// lengths: the tokens of every sequence. Errors: those of check_trained (train_step.h).
StepMemory step_memory(Weights& weights, const std::vector<int64_t>& lengths);

}  // namespace models
