#include "models/train/leaf_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <string_view>

#include "models/model/vision_tensors.h"

namespace models {
namespace {

bool is_trained(Role role) {
  return role != Role::kRouterTable && role != Role::kRouterBias;
}

// Why a tensor of this role, which the pass did not reach, has no gradient.
std::string_view reason_of(const TensorId& id) {
  switch (id.role) {
    case Role::kRouterTable:
      return "a buffer: the experts of each token";
    case Role::kRouterBias:
      return "a buffer: moved by the counts of tokens, not by a gradient";
    case Role::kIndexQ:
    case Role::kIndexWeights:
    case Role::kIndexValue:
    case Role::kIndexGate:
    case Role::kIndexPlace:
    case Role::kIndexNorm:
    case Role::kIndexKey:
    case Role::kIndexKeyNorm:
    case Role::kIndexKeyNormBias:
      return "the index only chooses";
    case Role::kSummaryValue:
    case Role::kSummaryGate:
    case Role::kSummaryPlace:
    case Role::kSummaryNorm:
      return "no sequence has a complete window";
    default:
      return is_vision(id) ? "not run" : "the step did not reach it";
  }
}

}  // namespace

LeafWeights::LeafWeights(Weights& weights)
    : weights_(weights), stored_(weights.stored()), uses_(stored_.size()) {
  for_each_tensor(weights_.config(), [&](const TensorId& id, const bridge::Shape&) {
    size_t number = 0;
    for (const StoredPart& part : weights_.parts(id)) {
      uses_.at(part.tensor).push_back({id, part, number++});
    }
  });
}

const std::vector<at::Tensor>& LeafWeights::leaves(const TensorId& id) {
  const std::string name = to_string(id);
  const auto known = leaves_.find(name);
  if (known != leaves_.end()) return known->second;
  const bridge::Shape shape = weights_.shape(id);
  const at::Tensor values = weights_.rows(id, 0, shape.at(0));
  std::vector<at::Tensor> made;
  if (is_trained(id.role)) {
    const at::Tensor wide = values.to(at::kFloat);
    int64_t row = 0;
    for (const StoredPart& part : weights_.parts(id)) {
      const at::Tensor here = part.by_run(wide.narrow(0, row, part.rows.count)).detach();
      made.push_back(here.set_requires_grad(true));
      row += part.rows.count;
    }
  } else {
    made.push_back(values.unsqueeze(0));
  }
  return leaves_.emplace(name, std::move(made)).first->second;
}

at::Tensor LeafWeights::whole(const TensorId& id) {
  const std::vector<at::Tensor>& made = leaves(id);
  if (made.size() == 1) return StoredPart::joined(made[0]);
  std::vector<at::Tensor> parts;
  for (const at::Tensor& leaf : made) parts.push_back(StoredPart::joined(leaf));
  return at::cat(parts);
}

at::Tensor LeafWeights::rows(const TensorId& id, int64_t begin, int64_t end) {
  const at::Tensor all = whole(id);
  return begin == 0 && end == all.size(0) ? all : all.slice(0, begin, end);
}

at::Tensor LeafWeights::chosen_rows(const TensorId& id, const std::vector<int64_t>& chosen) {
  return whole(id).index_select(0, at::tensor(at::ArrayRef<int64_t>(chosen)));
}

at::Tensor LeafWeights::gradient_of(const Use& use) const {
  if (!is_trained(use.id.role)) return {};
  const auto found = leaves_.find(to_string(use.id));
  return found == leaves_.end() ? at::Tensor() : found->second.at(use.number).grad();
}

std::string LeafWeights::without_gradient(size_t tensor) const {
  const std::vector<Use>& uses = uses_.at(tensor);
  if (!stored_.at(tensor).unread.empty()) return stored_[tensor].unread;
  if (uses.empty()) return "not run";
  const bool has_one = std::any_of(uses.begin(), uses.end(), [&](const Use& use) {
    return use.id.expert >= 0 || gradient_of(use).defined();
  });
  return has_one ? "" : std::string(reason_of(uses.front().id));
}

at::Tensor LeafWeights::gradient(size_t tensor) const {
  const at::Tensor whole = at::zeros(stored_.at(tensor).shape, at::kFloat);
  for (const Use& use : uses_.at(tensor)) {
    const at::Tensor part = gradient_of(use);
    if (part.defined()) use.part.put(part, whole);
  }
  return whole;
}

at::Tensor LeafWeights::gradient(const TensorId& id) {
  const auto found = leaves_.find(to_string(id));
  if (!is_trained(id.role) || found == leaves_.end()) return {};
  std::vector<at::Tensor> parts;
  for (const at::Tensor& leaf : found->second) {
    if (!leaf.grad().defined()) return {};
    parts.push_back(StoredPart::joined(leaf.grad()));
  }
  return at::cat(parts);
}

}  // namespace models
