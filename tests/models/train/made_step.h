// A training step on made weights, and its gradients by canonical name.
#pragma once

#include <ATen/TensorOperators.h>

#include <cstdint>
#include <map>
#include <string>

#include "models/forward/prompt.h"
#include "models/train/train_step.h"
#include "tests/models/made_weights.h"

namespace models {

struct MadeStep {
  StepResult result;
  std::map<std::string, at::Tensor> gradients;  // of the tensors that have one
};

inline Batch made_batch(const ModelConfig& config, const Offsets& offsets, uint64_t seed = 7) {
  Batch batch;
  batch.ids = seeded_prompt(config.vocab, offsets.back(), seed);
  batch.offsets = offsets;
  batch.targets = targets_of(batch.ids, {}, {}, offsets, {});
  return batch;
}

inline MadeStep made_step(const ModelConfig& config, const Batch& batch,
                          const StepOptions& options) {
  MadeWeights weights(config);
  LeafWeights leaves(weights);
  MadeStep step;
  step.result = train_step(leaves, batch, options);
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape&) {
    const at::Tensor gradient = leaves.gradient(id);
    if (gradient.defined()) step.gradients[to_string(id)] = gradient;
  });
  return step;
}

inline double part_that_differs(const at::Tensor& a, const at::Tensor& b) {
  const double norm = b.to(at::kDouble).norm().item<double>();
  return (a - b).to(at::kDouble).norm().item<double>() / (norm + 1e-7);
}

}  // namespace models
