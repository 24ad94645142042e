// Activation checkpoint: a part of a pass runs without being recorded, and runs again in the
// backward pass. Between the two, memory holds its arguments only.
//
//   1. The first run has no gradients. The arguments are saved: tensors, or undefined ones for
//      none.
//   2. The backward pass cuts the arguments from what made them, runs the part again with
//      gradients, and goes backward through it. Weights are leaves and gather their gradients
//      there; the gradients of the arguments are the result.
// Everything else that the part needs comes in by its closure: configurations, offsets, tables,
// weights. A tensor that a gradient must pass through may not come in that way, because the second
// run would lose the gradient, or go backward twice through what made the tensor. It is an error:
// of the first run if no argument needs a gradient, as the result then has none, else of the
// second. Nothing in a pass is random, so that no state of a generator is kept.
// Truth: megatron/core/tensor_parallel/random.py (CheckpointFunction); Megatron-LM pull request
// 4593.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace models {

// What has to know which of the two runs of a part is under way. For one thread.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  // Before and after the first run. The result is handed to the second.
  virtual bool begin_first() = 0;
  virtual void end_first() = 0;
  virtual void begin_again(bool of_first) = 0;
  virtual void end_again(bool of_first) = 0;
};

using RecomputedPart = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// Gives part(arguments), whose tensors must all be defined. What the closure refers to, and the
// observer (or null), must live until the backward pass is done. name: of the part, for errors.
// Errors: kInternal for a captured tensor that needs a gradient, naming the operation that made it;
// the errors of the part in either run.
std::vector<at::Tensor> checkpoint(const std::string& name, const RecomputedPart& part,
                                   const std::vector<at::Tensor>& arguments, RunObserver* observer);

}  // namespace models
