// Tensors that one side holds in a narrower type: what a conversion with --dtype makes.
//
//   1. rounded: every value of the one, rounded once to the type of the other, is the other's value, bit for bit
//   2. no such thing: what the runtimes keep in fp32 whatever the model's type (biases of a router's choice, sinks,
//      places' biases, hyper-connections); there a narrower copy is a difference
//   3. the forward pass of the wider side then runs on the rounded values, so that equal still means bit for bit
// Truth: Megatron-Core's router.py (_maintain_float32_expert_bias), csa.py, hyper_connection.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "models/weights.h"

namespace models {

// Rule 2: the tensor may be rounded.
bool may_be_rounded(Role role);

// As fp32 bits.
int64_t count_different(const at::Tensor& a, const at::Tensor& b);

// By canonical name, the types that tensors are rounded to.
using RoundedTypes = std::map<std::string, at::ScalarType>;

// The same weights, some of them rounded.
class RoundedWeights : public Weights {
 public:
  RoundedWeights(Weights& weights, const RoundedTypes& types) : weights_(weights), types_(types) {}

  const ModelConfig& config() const override { return weights_.config(); }
  bridge::Shape shape(const TensorId& id) override { return weights_.shape(id); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override;
  std::string source(const TensorId& id) override { return weights_.source(id); }

 private:
  Weights& weights_;
  const RoundedTypes& types_;
};

}  // namespace models
