#include "models/compare/pair_memory.h"

#include <algorithm>
#include <map>
#include <string>

#include "models/forward/linear.h"

namespace models {
namespace {

bool is_read_whole(const TensorId& id, const std::optional<LayerRange>& layers) {
  switch (id.section) {
    case Section::kLayer:
      return !layers || layers->contains(id.index);
    case Section::kModel:
      return (!layers || layers->has_heads) && id.role != Role::kEmbedding &&
             id.role != Role::kOutput;
    case Section::kMtp:
      return !layers || layers->has_heads;
    case Section::kVision:
    case Section::kVisionBlock:
    case Section::kVisionMerger:
      return false;
  }
  return false;
}

// Linears read large weights by blocks of rows; the product by group of heads (kODown) does not.
int64_t elements_at_once(const TensorId& id, const bridge::Shape& shape) {
  const int64_t elements = bridge::element_count(shape);
  if (shape.size() != 2 || id.role == Role::kODown) return elements;
  return elements / shape[0] * linear_rows(shape);
}

// The bytes of an element of each tensor, on the assumption that all tensors of a role are alike.
class ElementBytes {
 public:
  explicit ElementBytes(Weights& weights) : weights_(weights) {}

  int64_t of(const TensorId& id) {
    const auto known = known_.find(id.role);
    if (known != known_.end()) return known->second;
    const at::Tensor given = weights_.rows(id, 0, 1);
    const at::Tensor exact = weights_.exact_rows(id, 0, 1);
    auto bytes = static_cast<int64_t>(given.element_size());
    if (exact.scalar_type() != given.scalar_type()) {
      bytes += static_cast<int64_t>(exact.element_size());
    }
    return known_.emplace(id.role, bytes).first->second;
  }

 private:
  Weights& weights_;
  std::map<Role, int64_t> known_;
};

}  // namespace

int64_t most_elements(const ModelConfig& config, const std::optional<LayerRange>& layers) {
  int64_t most = 0;
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape& shape) {
    if (is_read_whole(id, layers)) most = std::max(most, elements_at_once(id, shape));
  });
  return most;
}

int64_t pair_bytes(Weights& a, Weights& b, const std::optional<LayerRange>& layers) {
  constexpr auto kComputed = static_cast<int64_t>(sizeof(float));
  // By canonical name: the elements of the larger one, and what one of them takes on both sides.
  struct Need {
    int64_t elements = 0;
    int64_t bytes = kComputed;
  };
  std::map<std::string, Need> needs;
  for (Weights* const side : {&a, &b}) {
    ElementBytes element(*side);
    for_each_tensor(side->config(), [&](const TensorId& id, const bridge::Shape& shape) {
      if (!is_read_whole(id, layers)) return;
      Need& need = needs[to_string(id)];
      need.elements = std::max(need.elements, elements_at_once(id, shape));
      need.bytes += element.of(id);
    });
  }
  int64_t most = 0;
  for (const auto& [name, need] : needs) most = std::max(most, need.elements * need.bytes);
  return most;
}

}  // namespace models
