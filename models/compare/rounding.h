// Tensors whose values one side holds rounded: what a conversion with --dtype makes, and one that stores a weight around zero.
//
//   1. rounded: every value of the one, rounded once as below, is the other's value, bit for bit
//        narrower      to the type of the other, where it is one that the conversion was asked for; a quantized tensor has no
//                      type of its own, and what it stands for is rounded
//        around zero   x is kept as x - 1 in a type that has not the bits for it: (x - 1 in that type) + 1; the norm of
//                      linear attention's heads, which Megatron-Core stores so and transformers does not
//   2. no such thing: what the runtimes keep in fp32 whatever the model's type (biases of a router's choice, sinks,
//      places' biases, hyper-connections); there a narrower copy is a difference
//   3. the forward pass of the wider side then runs on the rounded values, so that equal still means bit for bit
// Truth: Megatron-Core's router.py (_maintain_float32_expert_bias), csa.py, hyper_connection.py, gated_delta_net.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "models/weights/weights.h"

namespace models {

struct Rounding {
  at::ScalarType type = at::kFloat;
  bool around_zero = false;
  bool of_exact = false;  // of Weights::exact_rows

  at::Tensor operator()(const at::Tensor& x) const;
};

// The types that a conversion may round tensors to.
using RoundedTypes = std::vector<at::ScalarType>;
inline const RoundedTypes kAnyRoundedType = {at::kBFloat16, at::kHalf, at::kFloat};

// The roundings by which values of type `from` may have become those of type `to`: one of `types`, unless it is around zero.
// None of rule 2.
std::vector<Rounding> roundings(Role role, at::ScalarType from, at::ScalarType to,
                                const RoundedTypes& types);

// By canonical name.
using Roundings = std::map<std::string, Rounding>;

// The same weights, some of them rounded.
class RoundedWeights : public Weights {
 public:
  RoundedWeights(Weights& weights, const Roundings& roundings)
      : weights_(weights), roundings_(roundings) {}

  const ModelConfig& config() const override { return weights_.config(); }
  bridge::Shape shape(const TensorId& id) override { return weights_.shape(id); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override;
  std::string source(const TensorId& id) override { return weights_.source(id); }

 private:
  Weights& weights_;
  const Roundings& roundings_;
};

}  // namespace models
