// Recomputation of hyper-connections: which results are dropped, how many bytes, the same gradients
// with less memory, and what must not know of it.
#include "models/train/mhc_recompute.h"

#include <ATen/TensorOperators.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/forward.h"
#include "models/forward/prompt.h"
#include "models/train/train_step.h"
#include "tests/models/made_weights.h"
#include "tests/models/train/made_step.h"

namespace models {
namespace {

constexpr int64_t kStreams = 3;
constexpr int64_t kTokens = 12;

// Without multi-token prediction in Megatron main's dialect, which has none.
ModelConfig config_with_streams(HyperDialect dialect) {
  ModelConfig config = mixed_config();
  config.hyper = {kStreams, 4, 1e-6, dialect};
  if (dialect == HyperDialect::kMegatronMain) config.mtp.clear();
  return config;
}

// Norms are inside of linears, by the names of their tensors.
class WeightsOfLinears : public MadeWeights {
 public:
  using MadeWeights::MadeWeights;
  std::string source(const TensorId& id) override {
    const bool inside = id.role == Role::kAttentionNorm || id.role == Role::kMlpNorm;
    return inside ? "linear.layer_norm_weight" : to_string(id);
  }
};

StepOptions options_of(int64_t block) {
  StepOptions options;
  options.mtp_loss_scale = 0.3;
  options.mhc_block = block;
  return options;
}

int64_t dropped_bytes(Weights& weights, int64_t block) {
  LeafWeights leaves(weights);
  const Batch batch = made_batch(weights.config(), {0, kTokens});
  return train_step(leaves, batch, options_of(block)).dropped_bytes;
}

// Megatron-LM main's own plans: (layers, layers of a block).
TEST(MhcRecompute, EndsOfBlocks) {
  using Ends = std::vector<bool>;
  EXPECT_EQ(mhc_block_ends(3, 1), (Ends{true, true, true}));
  EXPECT_EQ(mhc_block_ends(3, 2), (Ends{false, true, true}));
  EXPECT_EQ(mhc_block_ends(3, 3), (Ends{false, false, true}));
  EXPECT_EQ(mhc_block_ends(3, 9), (Ends{false, false, true}));
  EXPECT_EQ(mhc_block_ends(5, 2), (Ends{false, true, false, true, true}));
  EXPECT_EQ(mhc_block_ends(4, 4), (Ends{false, false, false, true}));
  EXPECT_EQ(mhc_block_ends(0, 2), Ends{});
}

// 4 T D (2 L + n (2 L - B)), and 4 T D 2 L more where norms are steps of their own. If a block's
// last merge were dropped too, n 2 L streams would be.
TEST(MhcRecompute, DroppedBytes) {
  const ModelConfig config = config_with_streams(HyperDialect::kDeepSeek);
  const auto layers = std::ssize(config.layers);
  ASSERT_EQ(layers, 4);
  WeightsOfLinears inside(config);
  MadeWeights apart(config);
  for (const auto& [block, blocks] : {std::pair(1, 4), {2, 2}, {3, 2}, {4, 1}, {9, 1}}) {
    const int64_t streams = kStreams * (2 * layers - blocks);
    EXPECT_EQ(dropped_bytes(inside, block), 4 * kTokens * config.hidden * (2 * layers + streams));
    EXPECT_EQ(dropped_bytes(apart, block), 4 * kTokens * config.hidden * (4 * layers + streams));
  }
  EXPECT_EQ(dropped_bytes(apart, 0), 0);
}

using Gradients = std::vector<std::pair<std::string, at::Tensor>>;

struct Step {
  StepResult result;
  Gradients gradients;
};

Step step(const ModelConfig& config, const Batch& batch, const StepOptions& options) {
  MadeWeights weights(config);
  LeafWeights leaves(weights);
  Step out;
  out.result = train_step(leaves, batch, options);
  const std::vector<StoredTensor> stored = leaves.stored();
  for (size_t i = 0; i < stored.size(); ++i) {
    if (!leaves.without_gradient(i).empty()) continue;
    out.gradients.emplace_back(stored[i].key, leaves.gradient(i));
  }
  return out;
}

void expect_same(const Step& found, const Step& expected) {
  EXPECT_EQ(found.result.losses.main.sum, expected.result.losses.main.sum);
  ASSERT_EQ(found.result.losses.mtp.size(), expected.result.losses.mtp.size());
  for (size_t depth = 0; depth < found.result.losses.mtp.size(); ++depth) {
    EXPECT_EQ(found.result.losses.mtp[depth].sum, expected.result.losses.mtp[depth].sum);
  }
  ASSERT_EQ(found.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < found.gradients.size(); ++i) {
    const auto& [key, gradient] = expected.gradients[i];
    EXPECT_EQ(found.gradients[i].first, key);
    EXPECT_TRUE(found.gradients[i].second.equal(gradient)) << key;
  }
}

TEST(MhcRecompute, SameLossesAndGradients) {
  for (const HyperDialect dialect : {HyperDialect::kDeepSeek, HyperDialect::kMegatronMain}) {
    const ModelConfig config = config_with_streams(dialect);
    const Batch batch = made_batch(config, {0, 7, 7, 8, 20});
    const Step plain = step(config, batch, options_of(0));
    for (const int64_t block : {1, 2, 3, 4})
      expect_same(step(config, batch, options_of(block)), plain);
  }
}

// Their gradients reach the routers from the step's loss, not through the layers after.
TEST(MhcRecompute, WithTheLossesOfRouters) {
  const ModelConfig config = config_with_streams(HyperDialect::kDeepSeek);
  const Batch batch = made_batch(config, {0, kTokens});
  StepOptions options = options_of(0);
  options.router_loss = TrainingSettings{{}, "seq_aux_loss", 0.5};
  const Step plain = step(config, batch, options);
  options.mhc_block = 2;
  expect_same(step(config, batch, options), plain);
}

// Bytes of CPU tensors, of what this thread allocates meanwhile: alive now, and the most at once.
class PeakMemory : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*ptr*/, int64_t bytes, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    present_ += bytes;
    peak_ = std::max(peak_, present_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }
  int64_t present() const { return present_; }

 private:
  int64_t present_ = 0;
  int64_t peak_ = 0;
};

std::shared_ptr<PeakMemory> measured(const ModelConfig& config, const StepOptions& options) {
  const auto memory = std::make_shared<PeakMemory>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, memory);
  step(config, made_batch(config, {0, 40}), options);
  return memory;
}

// When the backward pass begins, all blocks but the last are without their results.
TEST(MhcRecompute, ThePeakFalls) {
  ModelConfig config = config_with_streams(HyperDialect::kMegatronMain);
  const LayerConfig layer = config.layers[0];
  config.layers.assign(8, layer);
  config.hyper.streams = 4;
  const int64_t dropped =
      step(config, made_batch(config, {0, 40}), options_of(1)).result.dropped_bytes;
  EXPECT_EQ(dropped, 4 * 40 * config.hidden * (4 * 8 + 4 * (2 * 8 - 8)));
  const auto plain = measured(config, options_of(0));
  const auto recomputed = measured(config, options_of(1));
  EXPECT_LT(recomputed->peak(), plain->peak() - dropped / 2);
  // The report's number knows what was dropped and came back.
  const Batch batch = made_batch(config, {0, 40});
  EXPECT_LT(step(config, batch, options_of(1)).result.peak_activation_bytes,
            step(config, batch, options_of(0)).result.peak_activation_bytes - dropped / 2);
  // What holds a result is not held by it.
  EXPECT_EQ(recomputed->present(), plain->present());
}

class Unwanted : public LayerParts {
 public:
  at::Tensor run(int64_t, LayerPart, const Function& function, const Inputs& inputs) override {
    ++calls;
    return function(inputs);
  }
  void end(int64_t, const at::Tensor&) override { ++calls; }
  int calls = 0;
};

// What pull request 4531 got wrong at first: every model without hyper-connections was handed the
// manager.
TEST(MhcRecompute, PlainLayersDoNotKnowIt) {
  MadeWeights weights(mixed_config());
  Unwanted parts;
  PassOptions options;
  options.parts = &parts;
  ForwardPass pass(weights, {}, seeded_prompt(weights.config().vocab, kTokens, 7), options);
  while (pass.next()) {
  }
  EXPECT_EQ(parts.calls, 0);
}

// Six parts of each decoder layer and its end; multi-token prediction is not among them.
TEST(MhcRecompute, LayersWithStreamsDo) {
  MadeWeights weights(config_with_streams(HyperDialect::kDeepSeek));
  ASSERT_EQ(weights.config().mtp.size(), 2U);
  Unwanted parts;
  PassOptions options;
  options.parts = &parts;
  ForwardPass pass(weights, {}, seeded_prompt(weights.config().vocab, kTokens, 7), options);
  while (pass.next()) {
  }
  EXPECT_EQ(parts.calls, 4 * 7);
}

// Each is named with what it does not go with.
TEST(MhcRecompute, RefusesOtherRecomputation) {
  const auto refusal = [](HyperDialect dialect, int64_t block, const char* recompute) {
    StepOptions options = options_of(block);
    options.recompute = parse_recompute(recompute);
    try {
      const ModelConfig config = config_with_streams(dialect);
      step(config, made_batch(config, {0, kTokens}), options);
      return std::string("accepted");
    } catch (const bridge::Error& error) {
      EXPECT_EQ(error.code(), bridge::Code::kUsage);
      return error.message();
    }
  };
  for (const char* recompute : {"full", "block:2", "selective:mlp"}) {
    const std::string found = refusal(HyperDialect::kDeepSeek, 2, recompute);
    EXPECT_NE(found.find("--mhc-recompute-layers"), std::string::npos) << found;
    EXPECT_NE(found.find("--recompute"), std::string::npos) << found;
  }
  EXPECT_NE(refusal(HyperDialect::kMegatronMain, 0, "full").find("enable_mhc_connections"),
            std::string::npos);
  EXPECT_EQ(refusal(HyperDialect::kDeepSeek, 0, "full"), "accepted");
  EXPECT_EQ(refusal(HyperDialect::kMegatronMain, 0, "selective:mlp"), "accepted");
}

TEST(MhcRecompute, TogetherWithAttention) {
  const ModelConfig config = config_with_streams(HyperDialect::kDeepSeek);
  const Batch batch = made_batch(config, {0, 7, 8, 20});
  StepOptions options = options_of(2);
  options.recompute = parse_recompute("selective:core_attn,moe");
  expect_same(step(config, batch, options), step(config, batch, options_of(0)));
}

TEST(MhcRecompute, RefusesAModelWithoutStreams) {
  MadeWeights weights(mixed_config());
  try {
    dropped_bytes(weights, 2);
    FAIL();
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), bridge::Code::kUsage);
    EXPECT_NE(error.message().find("--mhc-recompute-layers 2"), std::string::npos);
    EXPECT_NE(error.message().find("enable_mhc_connections"), std::string::npos);
  }
}

// The main head is made to read the first stream alone. What the last layer puts into the others
// then matters to multi-token prediction only, which reads every stream before the head. Fed with
// what the head reads, it would not matter at all.
TEST(MhcRecompute, MtpReadsEveryStream) {
  MadeWeights weights(config_with_streams(HyperDialect::kDeepSeek));
  const at::Tensor mapping = weights.rows({Role::kHeadMapping}, 0, kStreams);
  at::Tensor base = weights.rows({Role::kHeadMappingBase}, 0, kStreams);
  weights.added["head_mapping"] = -mapping;
  base = -base - 200;  // the sigmoid of it is 0, and of 200 it is 1
  base.select(0, 0).add_(400);
  weights.added["head_mapping.base"] = base;
  const Batch batch = made_batch(weights.config(), {0, kTokens});
  const auto of_third_stream = [&](double mtp_loss_scale) {
    LeafWeights leaves(weights);
    StepOptions options = options_of(1);
    options.mtp_loss_scale = mtp_loss_scale;
    train_step(leaves, batch, options);
    const at::Tensor gradient = leaves.gradient({Role::kMlpMappingBase, Section::kLayer, 3});
    EXPECT_GT(gradient.select(0, kStreams).abs().item<double>(), 1e-6);  // `post` of the first
    return gradient.select(0, kStreams + 2).abs().item<double>();
  };
  EXPECT_GT(of_third_stream(0.3), 1e-6);
  EXPECT_LT(of_third_stream(0), 1e-7);
}

}  // namespace
}  // namespace models
