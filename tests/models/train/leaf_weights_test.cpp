// Gradients that are put together part by part are those of the stored tensors themselves: of
// leaves in the checkpoint's own shapes, of which canonical tensors are views.
#include "models/train/leaf_weights.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/models/made_weights.h"
#include "tests/models/train/made_step.h"

namespace models {
namespace {

// Tensors of equal width lie in one stored tensor, one below the other. Each has every second row,
// and nothing is read of the others.
class WeightsTogether : public MadeWeights {
 public:
  explicit WeightsTogether(const ModelConfig& config) : MadeWeights(config) {
    for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
      const auto [group, is_new] = groups_.emplace(bridge::Shape(shape.begin() + 1, shape.end()),
                                                   std::pair(groups_.size(), int64_t{0}));
      auto& [tensor, rows] = group->second;
      parts_[to_string(id)] = {tensor, rows, {shape[0], 0, 1, 2, 2 * shape[0]}, shape};
      rows += 2 * shape[0];
    });
  }

  std::vector<StoredTensor> stored() override {
    std::vector<StoredTensor> tensors(groups_.size());
    for (const auto& [width, group] : groups_) {
      bridge::Shape shape = width;
      shape.insert(shape.begin(), group.second);
      tensors[group.first] = {"stored." + std::to_string(group.first), shape, ""};
    }
    return tensors;
  }
  std::vector<StoredPart> parts(const TensorId& id) override { return {parts_.at(to_string(id))}; }

 private:
  std::map<bridge::Shape, std::pair<size_t, int64_t>> groups_;  // by width: number and rows
  std::map<std::string, StoredPart> parts_;
};

// Its leaves are the stored tensors.
class StoredLeaves : public LeafWeights {
 public:
  explicit StoredLeaves(Weights& weights) : LeafWeights(weights) {
    for (const StoredTensor& tensor : stored()) leaves_.push_back(at::zeros(tensor.shape));
    for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& shape) {
      const StoredPart part = parts(id).at(0);
      part.put(part.by_run(weights.rows(id, 0, shape.at(0))), leaves_.at(part.tensor));
    });
    for (const at::Tensor& leaf : leaves_) leaf.set_requires_grad(true);
  }

  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    const StoredPart part = parts(id).at(0);
    return StoredPart::joined(part.of(leaves_.at(part.tensor))).contiguous().slice(0, begin, end);
  }
  at::Tensor chosen_rows(const TensorId& id, const std::vector<int64_t>& chosen) override {
    const at::Tensor whole = rows(id, 0, shape(id).at(0));
    return whole.index_select(0, at::tensor(at::ArrayRef<int64_t>(chosen)));
  }

  const at::Tensor& leaf(size_t tensor) const { return leaves_.at(tensor); }

 private:
  std::vector<at::Tensor> leaves_;
};

TEST(LeafWeights, GradientsAreThoseOfTheStoredTensors) {
  const ModelConfig config = mixed_config();
  WeightsTogether weights(config);
  const Batch batch = made_batch(config, {0, 9, 10, 22});
  StepOptions options;
  options.mtp_loss_scale = 0.4;
  LeafWeights leaves(weights);
  StoredLeaves stored(weights);
  const StepResult of_parts = train_step(leaves, batch, options);
  const StepResult of_stored = train_step(stored, batch, options);
  EXPECT_EQ(of_parts.losses.main.sum, of_stored.losses.main.sum);
  const size_t tensors = weights.stored().size();
  ASSERT_GT(tensors, 3U);
  for (size_t i = 0; i < tensors; ++i) {
    ASSERT_EQ(leaves.without_gradient(i), "");
    EXPECT_GT(stored.leaf(i).grad().norm().item<double>(), 0);
    EXPECT_TRUE(leaves.gradient(i).equal(stored.leaf(i).grad())) << i;
  }
}

}  // namespace
}  // namespace models
