// Weights that are leaves of autograd, so that the forward pass leaves gradients behind.
//
//   1. The first time that the pass asks for a canonical tensor, its values become leaves in fp32:
//      one for each stored tensor that it lies in. The pass gets a view of them.
//   2. Tables of integers and selection biases do not become leaves, as no gradient moves them.
//   3. After the backward pass, the gradient of a stored tensor is put together in the checkpoint's
//      own shape: every part of it that the pass used, and zeros elsewhere (rows of a padded
//      vocabulary, experts that no token was sent to).
// A leaf for a whole stored tensor would give the same gradients, bit for bit
// (leaf_weights_test.cpp). But autograd would make one of the stored shape, zeros for the most
// part, for every use of a part: of layers and experts in one stack, as many stacks as there are
// matrices in it. And of experts that no token is sent to, the values would be read.
// Weights that are stored minus one have the gradient of what they stand for, which is the same.
// Memory holds the values and the gradients of everything that the pass used.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/weights/weights.h"

namespace models {

// For one thread.
class LeafWeights : public Weights {
 public:
  // weights must outlive the object and know its stored tensors (Weights::stored).
  explicit LeafWeights(Weights& weights);

  const ModelConfig& config() const override { return weights_.config(); }
  bridge::Shape shape(const TensorId& id) override { return weights_.shape(id); }
  std::string source(const TensorId& id) override { return weights_.source(id); }
  std::vector<StoredTensor> stored() override { return stored_; }
  std::vector<StoredPart> parts(const TensorId& id) override { return weights_.parts(id); }
  TrainingSettings training() override { return weights_.training(); }
  // Views of the leaves, through which gradients pass; fp32 whatever the stored type.
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override;
  at::Tensor chosen_rows(const TensorId& id, const std::vector<int64_t>& chosen) override;

  // Why the stored tensor has no gradient; empty: it has one.
  std::string without_gradient(size_t tensor) const;
  // The gradient of a stored tensor, fp32, of its shape; call it only if it has one.
  at::Tensor gradient(size_t tensor) const;
  // The gradient of a canonical tensor, fp32; undefined if the pass did not reach it.
  at::Tensor gradient(const TensorId& id);

 private:
  // Where a part lies and the tensor it is a part of.
  struct Use {
    TensorId id;
    StoredPart part;
    size_t number = 0;  // of the part in its canonical tensor
  };

  // The leaves of a canonical tensor, each [runs, rows of a run, ...].
  const std::vector<at::Tensor>& leaves(const TensorId& id);
  at::Tensor whole(const TensorId& id);
  at::Tensor gradient_of(const Use& use) const;

  Weights& weights_;
  std::vector<StoredTensor> stored_;
  std::vector<std::vector<Use>> uses_;  // of each stored tensor
  std::map<std::string, std::vector<at::Tensor>> leaves_;
};

}  // namespace models
