#include "models/forward/seeded_state.h"

#include <ATen/ops/empty.h>

#include <vector>

#include "models/forward/splitmix.h"

namespace models {

std::function<at::Tensor(int64_t)> seeded_input(const ModelConfig& config, const Compute& compute,
                                                const at::Tensor& ids, uint64_t seed) {
  std::vector<int64_t> shape = {ids.size(0), ids.size(1)};
  if (config.hyper.streams > 0) shape.push_back(config.hyper.streams);
  shape.push_back(config.hidden);
  return [shape, seed, compute](int64_t layer) {
    constexpr float kStep = 1.0F / (1 << 23);
    SplitMix numbers(SplitMix(seed ^ static_cast<uint64_t>(layer)).next());
    at::Tensor state = at::empty(shape, at::kFloat);
    float* out = state.mutable_data_ptr<float>();
    for (int64_t i = 0; i < state.numel(); ++i) {
      out[i] = static_cast<float>(numbers.next() >> 40) * kStep - 1;
    }
    return on_device(state.to(compute.dtype), compute);
  };
}

}  // namespace models
