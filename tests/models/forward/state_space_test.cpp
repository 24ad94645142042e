// Tests the state space of Mamba-2 against transformers (data/forward_layers/make_expected.py).
#include "models/forward/state_space.h"

#include "tests/models/stored_weights.h"

namespace models {
namespace {

TEST(StateSpace, ByTokenAndByChunks) {
  const StoredWeights stored("nemotron_h.safetensors", "space");
  const auto by_head = [&](const char* name) { return stored.whole(name).transpose(1, 2); };
  const at::Tensor x = by_head("x");
  const at::Tensor step = by_head("step");
  const at::Tensor rate = stored.whole("rate");
  const at::Tensor b = by_head("b");
  const at::Tensor c = by_head("c");
  const at::Tensor expected = by_head("y");
  EXPECT_LT(largest_difference(state_space_by_token(x, step, rate, b, c), expected), 2e-5);
  for (const int64_t chunk : {1, 2, 16, 37, 64}) {
    const at::Tensor by_chunk = state_space_by_chunk(x, step, rate, b, c, chunk);
    EXPECT_LT(largest_difference(by_chunk, expected), 2e-5) << "chunks of " << chunk;
  }
  EXPECT_GT(largest_difference(state_space_by_token(x, step, 2 * rate, b, c), expected), 1e-2);
}

}  // namespace
}  // namespace models
