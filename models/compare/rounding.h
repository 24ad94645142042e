// Finds tensors whose values one side holds rounded. A conversion with --dtype makes them, and so
// does a conversion that stores a weight around zero.
//
//   1. A tensor is rounded if every value of one side, rounded once as below, is the other side's
//      value, bit for bit.
//        narrower      The value is rounded to the other side's type, if the conversion was asked
//                      for that type. A quantized tensor has no type of its own: the values that it
//                      stands for are rounded.
//        around zero   The value x is stored as x - 1 in a type with too few bits for it, and
//                      becomes (x - 1 in that type) + 1. Megatron-Core stores the norm of linear
//                      attention's heads so, transformers does not.
//   2. Tensors that the runtimes keep in fp32 whatever the model's type (router selection biases,
//      sinks, place biases, hyper-connections) are never rounded: a narrower copy is a difference.
//   3. The forward pass of the wider side then runs on the rounded values, so that equal still
//      means bit for bit.
// Truth: Megatron-Core's router.py (_maintain_float32_expert_bias), csa.py, hyper_connection.py,
// gated_delta_net.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/weights/weights.h"

namespace models {

struct Rounding {
  at::ScalarType type = at::kFloat;
  bool around_zero = false;
  bool of_exact = false;  // rounds Weights::exact_rows instead of Weights::rows

  at::Tensor operator()(const at::Tensor& x) const;
};

// The types that a conversion may round tensors to.
using RoundedTypes = std::vector<at::ScalarType>;
inline const RoundedTypes kAnyRoundedType = {at::kBFloat16, at::kHalf, at::kFloat};

// The roundings that may have turned values of type `from` into values of type `to`. `to` must be
// one of `types`, except for a rounding around zero. Tensors of rule 2 have no narrower rounding.
std::vector<Rounding> roundings(Role role, at::ScalarType from, at::ScalarType to,
                                const RoundedTypes& types);

// The key is the tensor's canonical name.
using Roundings = std::map<std::string, Rounding>;

// The same weights with some of them rounded.
class RoundedWeights : public Weights {
 public:
  RoundedWeights(Weights& weights, const Roundings& roundings)
      : weights_(weights), roundings_(roundings) {}

  const ModelConfig& config() const override { return weights_.config(); }
  bridge::Shape shape(const TensorId& id) override { return weights_.shape(id); }
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override;
  std::optional<QuantizedRows> quantized_rows(const TensorId& id, int64_t begin,
                                              int64_t end) override;
  std::string source(const TensorId& id) override { return weights_.source(id); }
  std::vector<StoredTensor> stored() override { return weights_.stored(); }
  std::vector<StoredPart> parts(const TensorId& id) override { return weights_.parts(id); }
  TrainingSettings training() override { return weights_.training(); }

 private:
  Weights& weights_;
  const Roundings& roundings_;
};

}  // namespace models
