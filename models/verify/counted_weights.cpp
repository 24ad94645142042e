#include "models/verify/counted_weights.h"

#include <map>

namespace models {

int64_t bytes_of(Weights& weights, const std::optional<LayerRange>& layers) {
  std::map<Role, int64_t> element_bytes;
  int64_t bytes = 0;
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    if (layers && !layers->contains(id)) return;
    auto known = element_bytes.find(id.role);
    if (known == element_bytes.end()) {
      const at::Tensor row = weights.rows(id, 0, 1);
      known = element_bytes.emplace(id.role, static_cast<int64_t>(row.element_size())).first;
    }
    bytes += bridge::element_count(shape) * known->second;
  });
  return bytes;
}

}  // namespace models
