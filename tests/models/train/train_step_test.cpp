// A training step on made weights: gradients against finite differences, packed rows against their
// sequences alone, context parallelism against one rank, and which tensors have no gradient.
#include "models/train/train_step.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/train/step_memory.h"
#include "tests/models/made_weights.h"
#include "tests/models/train/made_step.h"
#include "tests/refusal.h"

namespace models {
namespace {

// Without choices, which make steps in a loss.
ModelConfig smooth_config() {
  ModelConfig config = mixed_config();
  const MlpConfig dense = config.layers[0].mlp;
  for (LayerConfig& layer : config.layers) {
    layer.mlp = dense;
    if (auto* compressed = std::get_if<CompressedAttention>(&layer.attention)) {
      compressed->index_heads = 0;
    }
  }
  for (LayerConfig& layer : config.mtp) layer.mlp = dense;
  return config;
}

// Sequence i of a packed batch.
Batch alone(const Batch& packed, size_t i) {
  const int64_t first = packed.offsets[i];
  const int64_t count = packed.offsets[i + 1] - first;
  Batch batch;
  batch.ids = packed.ids.narrow(1, first, count);
  batch.targets = {packed.targets.labels.narrow(1, first, count),
                   packed.targets.mask.narrow(1, first, count)};
  return batch;
}

using Gradients = std::map<std::string, at::Tensor>;

struct Step {
  StepResult result;
  Gradients gradients;  // by stored key
  std::map<std::string, std::string> without;
};

Step step(Weights& weights, const Batch& batch, const StepOptions& options) {
  LeafWeights leaves(weights);
  Step out;
  out.result = train_step(leaves, batch, options);
  const std::vector<StoredTensor> stored = leaves.stored();
  for (size_t i = 0; i < stored.size(); ++i) {
    const std::string reason = leaves.without_gradient(i);
    if (reason.empty()) {
      out.gradients[stored[i].key] = leaves.gradient(i);
    } else {
      out.without[stored[i].key] = reason;
    }
  }
  return out;
}

Step step(const ModelConfig& config, const Batch& batch, const StepOptions& options) {
  MadeWeights weights(config);
  return step(weights, batch, options);
}

double loss_of(const StepResult& result, double scale) {
  double loss = result.losses.main.mean();
  for (const LossValue& depth : result.losses.mtp) {
    loss += scale / static_cast<double>(result.losses.mtp.size()) * depth.mean();
  }
  return loss;
}

double norm_of(const at::Tensor& x) {
  return x.to(at::kDouble).norm().item<double>();
}

void expect_close(const Gradients& found, const Gradients& expected, double relative) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [key, gradient] : expected) {
    EXPECT_LE(norm_of(found.at(key) - gradient), relative * norm_of(gradient) + 1e-6) << key;
  }
}

// Each tensor is moved along its own gradient, where the loss grows by the gradient's length.
TEST(TrainStep, GradientsAreThoseOfTheLoss) {
  const ModelConfig config = smooth_config();
  const Batch batch = made_batch(config, {0, 9, 14});
  const StepOptions options{0.4, 1};
  const Step here = step(config, batch, options);
  EXPECT_TRUE(here.without.empty()) << here.without.begin()->first;
  constexpr double kStep = 4e-3;
  for_each_tensor(config, [&](const TensorId& id, const bridge::Shape&) {
    const std::string name = to_string(id);
    const at::Tensor& gradient = here.gradients.at("stored." + name);
    const double length = norm_of(gradient);
    if (length < 1e-5) return;
    double losses[2] = {};
    for (const int side : {0, 1}) {
      MadeWeights weights(config);
      weights.added[name] = gradient * ((side == 0 ? -kStep : kStep) / length);
      losses[side] = loss_of(step(weights, batch, options).result, 0.4);
    }
    EXPECT_NEAR((losses[1] - losses[0]) / (2 * kStep), length, 0.05 * length + 2e-3) << name;
  });
}

// Sums over a packed row are those of its sequences, and so are the gradients of sums.
TEST(TrainStep, PackedIsTheSumOfItsSequences) {
  const ModelConfig config = mixed_config();
  const Batch packed = made_batch(config, {0, 9, 10, 10, 13, 26});
  const Step main_only = step(config, packed, {0, 1});
  const Step with_depths = step(config, packed, {1, 1});
  const LossValue& main = main_only.result.losses.main;
  Gradients sums;
  std::vector<LossValue> losses(1 + config.mtp.size());
  for (size_t i = 0; i + 1 < packed.offsets.size(); ++i) {
    if (packed.offsets[i] == packed.offsets[i + 1]) continue;
    const Step one = step(config, alone(packed, i), {0, 1});
    losses[0].sum += one.result.losses.main.sum;
    losses[0].count += one.result.losses.main.count;
    for (size_t depth = 0; depth < config.mtp.size(); ++depth) {
      losses[1 + depth].sum += one.result.losses.mtp[depth].sum;
      losses[1 + depth].count += one.result.losses.mtp[depth].count;
    }
    for (const auto& [key, gradient] : one.gradients) {
      const at::Tensor sum = gradient * one.result.losses.main.count;
      sums[key] = sums.contains(key) ? sums[key] + sum : sum;
    }
  }
  EXPECT_EQ(losses[0].count, main.count);
  EXPECT_NEAR(losses[0].sum, main.sum, 1e-5 * main.sum);
  for (size_t depth = 0; depth < config.mtp.size(); ++depth) {
    const LossValue& found = with_depths.result.losses.mtp[depth];
    EXPECT_EQ(losses[1 + depth].count, found.count);
    EXPECT_NEAR(losses[1 + depth].sum, found.sum, 1e-5 * found.sum);
  }
  Gradients unnormalized;
  for (const auto& [key, gradient] : main_only.gradients) {
    unnormalized[key] = gradient * main.count;
  }
  expect_close(unnormalized, sums, 1e-4);
}

// With the counts of the row, the gradients of its sequences add up in the leaves.
TEST(TrainStep, CountsThatAreGiven) {
  const ModelConfig config = mixed_config();
  const Batch packed = made_batch(config, {0, 9, 10, 22});
  const Step together = step(config, packed, {0.3, 1});
  StepOptions options{0.3, 1};
  options.counts = {together.result.losses.main.count};
  for (const LossValue& depth : together.result.losses.mtp) options.counts.push_back(depth.count);
  MadeWeights weights(config);
  LeafWeights leaves(weights);
  for (size_t i = 0; i < 3; ++i) train_step(leaves, alone(packed, i), options);
  Gradients sums;
  const std::vector<StoredTensor> stored = leaves.stored();
  for (size_t i = 0; i < stored.size(); ++i) {
    if (leaves.without_gradient(i).empty()) sums[stored[i].key] = leaves.gradient(i);
  }
  expect_close(sums, together.gradients, 1e-4);
}

// A shift of the whole row gives the last tokens of sequences another target.
TEST(TrainStep, WithoutOffsetsTheLossesDiffer) {
  const ModelConfig config = mixed_config();
  const Batch packed = made_batch(config, {0, 9, 20});
  Batch whole = packed;
  whole.offsets.clear();
  const StepResult found = step(config, packed, {0.1, 1}).result;
  const StepResult other = step(config, whole, {0.1, 1}).result;
  EXPECT_NE(found.losses.mtp[0].count, other.losses.mtp[0].count);
  EXPECT_GT(std::abs(found.losses.main.sum - other.losses.main.sum), 1e-4);
}

ModelConfig config_that_is_cut() {
  ModelConfig config = mixed_config();
  config.layers = {config.layers[0], config.layers[3]};
  return config;
}

TEST(TrainStep, RanksAddUp) {
  const ModelConfig config = config_that_is_cut();
  Batch batch = made_batch(config, {0, 8, 8, 24});
  batch.targets.mask.select(1, 3).zero_();
  const Step one = step(config, batch, {0.3, 1});
  for (const int64_t ranks : {2, 4}) {
    const Step several = step(config, batch, {0.3, ranks});
    ASSERT_EQ(std::ssize(several.result.of_ranks), ranks);
    LossValue main;
    std::vector<LossValue> depths(config.mtp.size());
    for (const StepLosses& rank : several.result.of_ranks) {
      main.sum += rank.main.sum;
      main.count += rank.main.count;
      for (size_t depth = 0; depth < depths.size(); ++depth) {
        depths[depth].sum += rank.mtp.at(depth).sum;
        depths[depth].count += rank.mtp.at(depth).count;
      }
    }
    EXPECT_EQ(main.count, one.result.losses.main.count);
    EXPECT_NEAR(main.sum, one.result.losses.main.sum, 1e-5 * main.sum);
    for (size_t depth = 0; depth < depths.size(); ++depth) {
      const LossValue& expected = one.result.losses.mtp[depth];
      EXPECT_EQ(depths[depth].count, expected.count);
      EXPECT_NEAR(depths[depth].sum, expected.sum, 1e-5 * expected.sum);
    }
    expect_close(several.gradients, one.gradients, 1e-4);
  }
}

TEST(TrainStep, LayersThatAreNotCut) {
  const ModelConfig config = mixed_config();
  bridge::expect_error(bridge::Code::kUnsupported, "layer 1 has linear attention", [&] {
    step(config, made_batch(config, {0, 8}), {0.1, 2});
  });
}

TEST(TrainStep, TensorsWithoutAGradient) {
  const ModelConfig config = mixed_config();
  const Step long_enough = step(config, made_batch(config, {0, 12}), {0.1, 1});
  for (const auto& [key, reason] : long_enough.without) {
    const bool chooses = key.find(".index.") != std::string::npos;
    const bool buffer = key.ends_with("router_bias");
    EXPECT_TRUE(chooses || buffer) << key << ": " << reason;
  }
  EXPECT_EQ(long_enough.without.at("stored.layers.2.index.q"), "the index only chooses");
  EXPECT_TRUE(long_enough.without.at("stored.layers.1.router_bias").starts_with("a buffer"));
  EXPECT_TRUE(long_enough.gradients.contains("stored.layers.2.summary.value"));
  // Three tokens make no run of four.
  const Step too_short = step(config, made_batch(config, {0, 3, 6}), {0.1, 1});
  EXPECT_EQ(too_short.without.at("stored.layers.2.summary.value"),
            "no sequence has a complete window");
}

// Experts that no token was sent to have a gradient, which is zero.
TEST(TrainStep, UnroutedExpertsAreZero) {
  const ModelConfig config = mixed_config();
  const Step one_token = step(config, made_batch(config, {0, 2}), {0.1, 1});
  int64_t zero = 0;
  for (int64_t expert = 0; expert < 5; ++expert) {
    const std::string key = "stored." + to_string({Role::kExpertUp, Section::kLayer, 1, expert});
    ASSERT_TRUE(one_token.gradients.contains(key)) << key;
    zero += norm_of(one_token.gradients.at(key)) == 0 ? 1 : 0;
  }
  EXPECT_GE(zero, 1);  // two tokens go to four experts at most
}

TEST(TrainStep, MtpThatNoTokenCountsForHasZeroGradients) {
  const ModelConfig config = mixed_config();
  const Step step_of_two = step(config, made_batch(config, {0, 2}), {0.1, 1});
  EXPECT_EQ(step_of_two.result.losses.mtp[0].count, 0);
  EXPECT_EQ(step_of_two.result.losses.mtp[0].sum, 0);
  EXPECT_EQ(norm_of(step_of_two.gradients.at("stored.mtp.0.projection")), 0);
  // The one token that counts sees only itself, so its query has no gradient; its value has one.
  EXPECT_GT(norm_of(step_of_two.gradients.at("stored.layers.0.v")), 0);
}

// The routers' losses move the routers' weights and are off unless asked for.
TEST(TrainStep, RouterLoss) {
  const ModelConfig config = mixed_config();
  const Batch batch = made_batch(config, {0, 12});
  const Step off = step(config, batch, {0.1, 1});
  const Step on = step(config, batch, {0.1, 1, TrainingSettings{{}, "seq_aux_loss", 0.5}});
  EXPECT_EQ(off.result.router_loss, 0);
  EXPECT_GT(on.result.router_loss, 0.5);  // about 0.5 a router where shares are equal
  EXPECT_EQ(on.result.losses.main.sum, off.result.losses.main.sum);
  EXPECT_GT(norm_of(on.gradients.at("stored.layers.1.router") -
                    off.gradients.at("stored.layers.1.router")),
            1e-3);
}

TEST(TrainStep, OfMambaIsRefused) {
  ModelConfig config = mixed_config();
  config.mtp[1] = {Mamba2{.heads = 2, .head_dim = 3, .groups = 1, .state = 2, .kernel = 4},
                   NoMlp()};
  MadeWeights weights(config);
  const auto refused = [](const auto& run) {
    try {
      run();
    } catch (const bridge::Error& error) {
      EXPECT_EQ(error.code(), bridge::Code::kUnsupported);
      return std::string(error.message());
    }
    return std::string("accepted");
  };
  const std::string expected = "train-step: no training step of Mamba-2 is computed here";
  EXPECT_EQ(refused([&] { step_memory(weights, {8}); }), expected);
  EXPECT_EQ(refused([&] { step(config, made_batch(config, {0, 8}), {0.1, 1}); }), expected);
}

TEST(StepMemory, GrowsWithTheModelAndTheTokens) {
  MadeWeights weights(mixed_config());
  const StepMemory one = step_memory(weights, {64});
  const StepMemory longer = step_memory(weights, {128});
  const StepMemory packed = step_memory(weights, {64, 64});
  EXPECT_EQ(one.weights, longer.weights);
  EXPECT_GT(longer.activations, 2 * one.activations);  // scores grow with the square
  EXPECT_LT(packed.activations, longer.activations);
  int64_t elements = 0;
  for_each_tensor(weights.config(), [&](const TensorId&, const bridge::Shape& shape) {
    elements += bridge::element_count(shape);
  });
  EXPECT_GE(one.weights, 2 * 4 * elements);
}

}  // namespace
}  // namespace models
