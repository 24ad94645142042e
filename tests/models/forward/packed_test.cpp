// Packed rows: every sequence is computed as if it were alone, in every kind of attention and in
// every depth of multi-token prediction.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "models/forward/forward.h"
#include "models/forward/prompt.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

constexpr double kTolerance = 1e-5;

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return a.numel() == 0 ? 0 : (a - b).abs().max().item<double>();
}

std::vector<HiddenState> states(const ModelConfig& config, const at::Tensor& ids,
                                const Offsets& offsets, const at::Tensor& positions = {}) {
  MadeWeights weights(config);
  PassOptions options;
  options.offsets = offsets;
  options.positions = positions;
  ForwardPass pass(weights, {}, ids, options);
  std::vector<HiddenState> found;
  while (std::optional<HiddenState> state = pass.next()) found.push_back(*state);
  return found;
}

TEST(Packed, EverySequenceAlone) {
  const ModelConfig config = mixed_config();
  const Offsets offsets = {0, 9, 10, 10, 13, 26};
  const at::Tensor ids = seeded_prompt(config.vocab, offsets.back(), 3);
  const std::vector<HiddenState> packed = states(config, ids, offsets);
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t first = offsets[i - 1];
    const int64_t count = offsets[i] - first;
    if (count == 0) continue;
    const std::vector<HiddenState> alone = states(config, ids.narrow(1, first, count), {});
    ASSERT_EQ(alone.size(), packed.size());
    for (size_t place = 0; place < alone.size(); ++place) {
      EXPECT_LT(
          largest_difference(packed[place].hidden.narrow(1, first, count), alone[place].hidden),
          kTolerance)
          << packed[place].name << " of sequence " << i - 1;
    }
  }
}

// One sequence in a packed row is the row.
TEST(Packed, OneSequence) {
  const ModelConfig config = mixed_config();
  const at::Tensor ids = seeded_prompt(config.vocab, 14, 4);
  const std::vector<HiddenState> packed = states(config, ids, {0, 14});
  const std::vector<HiddenState> plain = states(config, ids, {});
  for (size_t place = 0; place < plain.size(); ++place) {
    EXPECT_EQ(largest_difference(packed[place].hidden, plain[place].hidden), 0)
        << plain[place].name;
  }
}

// Shows that each kind of attention would notice a sequence before its own: alone in a model, it
// gives another result for the second sequence where the row is one sequence.
TEST(Packed, WithoutOffsetsEveryAttentionDiffers) {
  const ModelConfig mixed = mixed_config();
  for (size_t layer = 0; layer < mixed.layers.size(); ++layer) {
    ModelConfig config = mixed;
    config.layers = {mixed.layers[layer]};
    config.mtp.clear();
    const at::Tensor ids = seeded_prompt(config.vocab, 20, 5);
    const auto second = [&](const Offsets& offsets) {
      return states(config, ids, offsets).at(1).hidden.narrow(1, 9, 11);
    };
    EXPECT_GT(largest_difference(second({0, 9, 20}), second({0, 20})), 1e-3) << "layer " << layer;
  }
}

TEST(Packed, PositionsThatAreGiven) {
  ModelConfig config = mixed_config();
  config.layers.resize(1);
  config.mtp.clear();
  const at::Tensor ids = seeded_prompt(config.vocab, 6, 6);
  const auto last = [&](const at::Tensor& positions) {
    return states(config, ids, {0, 3, 6}, positions).at(1).hidden;
  };
  const auto given = [](std::vector<int64_t> positions) { return at::tensor(positions); };
  EXPECT_EQ(largest_difference(last({}), last(given({0, 1, 2, 0, 1, 2}))), 0);
  // Attention sees differences of positions only.
  EXPECT_LT(largest_difference(last({}), last(given({0, 1, 2, 7, 8, 9}))), kTolerance);
  EXPECT_GT(largest_difference(last({}), last(given({0, 1, 2, 0, 2, 4}))), 1e-4);
}

}  // namespace
}  // namespace models
