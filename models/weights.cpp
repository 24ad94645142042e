#include "models/weights.h"

#include <fmt/format.h>

#include "bridge/io/dtype.h"
#include "bridge/io/error.h"

namespace models {

void check_shapes(Weights& weights) {
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& wanted) {
    const bridge::Shape found = weights.shape(id);
    if (found != wanted) {
      bridge::bad_input(fmt::format("{}: {} has shape {}, the configuration asks for {}",
                                    weights.source(id), to_string(id), bridge::shape_text(found),
                                    bridge::shape_text(wanted)));
    }
  });
}

at::Tensor SectionWeights::whole(const TensorId& id) const {
  return weights_.rows(id, 0, weights_.shape(id).at(0));
}

at::Tensor SectionWeights::get(Role role, int64_t expert) const {
  return whole({role, section_, index_, expert}).to(compute_.device, compute_.dtype);
}

at::Tensor SectionWeights::get_f32(Role role) const {
  return whole({role, section_, index_}).to(compute_.device, at::kFloat);
}

at::Tensor SectionWeights::rows(Role role, int64_t begin, int64_t end) const {
  return weights_.rows({role, section_, index_}, begin, end).to(compute_.device, compute_.dtype);
}

}  // namespace models
