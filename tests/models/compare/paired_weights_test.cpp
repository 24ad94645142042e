#include "models/compare/paired_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "models/compare/forward_comparison.h"
#include "models/hf/view.h"
#include "models/megatron/view.h"
#include "tests/data_dir.h"
#include "tests/models/counting_file_system.h"
#include "tests/models/made_weights.h"
#include "tests/models/recording_device.h"

namespace models {
namespace {

at::Tensor prompt() {
  return at::tensor({1, 2, 3, 4, 5}, at::kLong).unsqueeze(0);
}

struct Verdicts {
  ForwardVerdict forward;
  TensorVerdict tensors;
};

// ahead: as for PairedWeights; these tensors are small.
Verdicts verdicts_of(Weights& a, Weights& b, const std::optional<LayerRange>& layers = {},
                     std::optional<int64_t> ahead = 1) {
  PairedWeights pair(a, b, layers, kAnyRoundedType, ahead);
  Verdicts found;
  found.forward = compare_forward(pair, {}, prompt(), layers);
  found.tensors = pair.finish();
  return found;
}

bool is_identical(const ForwardVerdict& verdict) {
  for (const StateDifference& state : verdict.states) {
    if (!state.identical) return false;
  }
  for (const HeadDifference& head : verdict.heads) {
    if (!head.identical) return false;
  }
  return !verdict.states.empty();
}

// A view that counts what is read of its files after it was opened.
class Side {
 public:
  explicit Side(const std::string& path) {
    weights_ = path.ends_with("/megatron") ? open_megatron_weights(fs_, path, "", budget_)
                                           : open_hf_weights(fs_, path, budget_);
    before_ = fs_.bytes_read();
  }

  Weights& weights() { return *weights_; }
  int64_t bytes_read() const { return fs_.bytes_read() - before_; }

 private:
  CountingFileSystem fs_;
  bridge::MemoryBudget budget_{256 << 20};
  std::unique_ptr<Weights> weights_;
  int64_t before_ = 0;
};

struct Checkpoint {
  std::string folder;
  int64_t payload;    // of its safetensors files: their sizes without headers
  int64_t row_bytes;  // of the embedding
  int64_t depths;
  int64_t tied_rows;  // of an embedding that is the output layer too
};

class OneReading : public testing::TestWithParam<Checkpoint> {};

// Nothing is read ahead; some tensors; all of them.
const std::vector<std::optional<int64_t>> kAhead = {std::nullopt, 2000, 1};

// Besides, each side reads the embedding's rows of the prompt 1 2 3 4 5, and of 2 3 4 5 0 and
// 3 4 5 0 0 at the depths.
TEST_P(OneReading, OfEverySide) {
  const Checkpoint& given = GetParam();
  const std::string folder = data_dir() + "/" + given.folder;
  for (const std::optional<int64_t> ahead : kAhead) {
    Side a(folder);
    Side b(folder);
    const Verdicts found = verdicts_of(a.weights(), b.weights(), {}, ahead);
    EXPECT_TRUE(is_identical(found.forward));
    EXPECT_TRUE(found.tensors.differences.empty());
    constexpr int64_t kRows[] = {5, 10, 14};
    const int64_t expected =
        given.payload + (given.tied_rows + kRows[given.depths]) * given.row_bytes;
    EXPECT_EQ(a.bytes_read(), expected) << ahead.value_or(0);
    EXPECT_EQ(b.bytes_read(), expected) << ahead.value_or(0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, OneReading,
    testing::Values(Checkpoint{"mistral/hf", 333072, 144, 0, 0},
                    Checkpoint{"bridge_written/llama_tied/hf", 333936, 144, 0, 320},
                    Checkpoint{"bridge_written/qwen3_moe/hf", 379648, 128, 0, 0},
                    Checkpoint{"bridge_written/deepseek_v3_mtp2/hf", 1064160, 128, 2, 0},
                    Checkpoint{"glm4_moe/hf", 114864, 64, 1, 0},
                    Checkpoint{"deepseek_v3_fp8/hf", 2830616, 320, 1, 0}));

// The other format has headers among its tensors, which a comparison of tensors alone reads too.
TEST(PairedWeights, ReadsMegatronOnce) {
  const std::string folder = data_dir() + "/bridge_written/qwen3_moe";
  Side a(folder + "/hf");
  Side b(folder + "/megatron");
  const Verdicts found = verdicts_of(a.weights(), b.weights());
  EXPECT_TRUE(is_identical(found.forward));
  EXPECT_TRUE(found.tensors.differences.empty());
  EXPECT_EQ(a.bytes_read(), 379648 + 5 * 128);
  Side hf(folder + "/hf");
  Side alone(folder + "/megatron");
  compare_tensors(hf.weights(), alone.weights());
  EXPECT_EQ(b.bytes_read(), alone.bytes_read() + 5 * 128);
}

// Before a pass waits for its device, the other one comes as far: one wait serves both.
TEST(PairedWeights, BothQueueBeforeOneWaits) {
  MadeWeights a(mixed_config());
  MadeWeights b(mixed_config());
  PairedWeights pair(a, b);
  std::string order;
  pair.advance(
      [&] {
        order += "a queues, ";
        pair.a().before_waiting();
        order += "a waits, ";
      },
      [&] {
        order += "b queues, ";
        pair.b().before_waiting();
        order += "b waits";
      });
  EXPECT_EQ(order, "a queues, b queues, a waits, b waits");
}

TEST(PairedWeights, ReadsSomeLayersAlone) {
  const std::string folder = data_dir() + "/mistral/hf";
  Side a(folder);
  Side b(folder);
  const Verdicts found = verdicts_of(a.weights(), b.weights(), LayerRange{1, 2});
  EXPECT_TRUE(is_identical(found.forward));
  int64_t values = 0;
  for_each_tensor(a.weights().config(), [&](const TensorId& id, const bridge::Shape& shape) {
    if (id.section == Section::kLayer && id.index == 1) values += bridge::element_count(shape);
  });
  EXPECT_EQ(a.bytes_read(), 2 * values + 5 * 144);
  EXPECT_EQ(b.bytes_read(), a.bytes_read());
}

// 0.5 more in one value of a tensor.
void change(MadeWeights& weights, const std::string& name, const bridge::Shape& shape) {
  at::Tensor added = at::zeros(shape);
  added.view(-1)[7].fill_(0.5);
  weights.added[name] = added;
}

TEST(PairedWeights, ListsDifferencesInCanonicalOrder) {
  MadeWeights a(mixed_config());
  MadeWeights b(mixed_config());
  std::vector<std::string> names = {"embedding"};
  // Some of the experts are used, and are seen before the others.
  for (int expert = 0; expert < 5; ++expert) {
    names.push_back("layers.1.experts." + std::to_string(expert) + ".up");
  }
  names.insert(names.end(), {"layers.3.mlp_norm", "final_norm", "mtp.1.projection", "output"});
  for (const std::string& name : names) {
    for_each_tensor(b.config(), [&](const TensorId& id, const bridge::Shape& shape) {
      if (to_string(id) == name) change(b, name, shape);
    });
    ASSERT_TRUE(b.added.contains(name)) << name;
  }
  const Verdicts found = verdicts_of(a, b);
  EXPECT_FALSE(is_identical(found.forward));
  ASSERT_EQ(found.tensors.differences.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const TensorDifference& difference = found.tensors.differences[i];
    EXPECT_EQ(difference.name, names[i]);
    const int64_t values = b.added.at(names[i]).numel();
    EXPECT_EQ(difference.what, "1 of " + std::to_string(values) + " values differ, by 0.5 at most");
  }
}

// The largest differences of the states of two passes, each of which reads its own weights.
std::vector<double> differences_alone(Weights& a, Weights& b) {
  ForwardPass pass_a(a, {}, prompt());
  ForwardPass pass_b(b, {}, prompt());
  std::vector<double> largest;
  while (const std::optional<HiddenState> ours = pass_a.next()) {
    const at::Tensor theirs = pass_b.next().value().hidden;
    largest.push_back((ours->hidden - theirs).abs().max().item<double>());
  }
  return largest;
}

std::vector<double> largest_of(const ForwardVerdict& verdict) {
  std::vector<double> largest;
  for (const StateDifference& state : verdict.states) largest.push_back(state.largest);
  return largest;
}

// The routers differ, so each pass asks for experts that the other one does not ask for.
TEST(PairedWeights, GivesEachPassItsOwnWeights) {
  MadeWeights a(mixed_config());
  MadeWeights b(mixed_config());
  b.added["layers.1.router"] = -2 * a.rows({Role::kRouter, Section::kLayer, 1}, 0, 5);
  change(b, "layers.0.gate", {9, 10});
  for (const std::optional<int64_t> ahead : kAhead) {
    const Verdicts found = verdicts_of(a, b, {}, ahead);
    EXPECT_EQ(largest_of(found.forward), differences_alone(a, b));
    EXPECT_EQ(found.tensors.differences.size(), 2);
  }
}

// Weights whose tensors are all rounded, of a model that keeps none of them in fp32.
class NarrowWeights : public MadeWeights {
 public:
  using MadeWeights::MadeWeights;
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    return MadeWeights::rows(id, begin, end).to(at::kBFloat16);
  }
};

TEST(PairedWeights, PassesRunOnTheRoundedValuesOfBoth) {
  ModelConfig config = mixed_config();
  config.layers = {config.layers[0], config.layers[3]};
  config.mtp.clear();
  MadeWeights wide(config);
  NarrowWeights narrow(config);
  size_t tensors = 0;
  for_each_tensor(config, [&](const TensorId&, const bridge::Shape&) { ++tensors; });
  for (const bool narrow_first : {false, true}) {
    const Verdicts found = narrow_first ? verdicts_of(narrow, wide) : verdicts_of(wide, narrow);
    EXPECT_TRUE(is_identical(found.forward));
    EXPECT_TRUE(found.tensors.differences.empty());
    EXPECT_EQ(found.tensors.rounded.size(), tensors);
  }
}

TEST(PairedWeights, GivesWhatAPassAloneReads) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Compute compute{.dtype = dtype};
    NarrowWeights a(mixed_config());
    NarrowWeights b(mixed_config());
    NarrowWeights alone(mixed_config());
    PairedWeights pair(a, b, {}, kAnyRoundedType, 1, compute);
    ForwardPass first(pair.a(), compute, prompt());
    ForwardPass second(pair.b(), compute, prompt());
    ForwardPass expected(alone, compute, prompt());
    while (const std::optional<HiddenState> state = expected.next()) {
      EXPECT_TRUE(first.next().value().hidden.equal(state->hidden)) << state->name;
      EXPECT_TRUE(second.next().value().hidden.equal(state->hidden)) << state->name;
    }
  }
}

// The device_rows of both sides of every tensor, in the order of a pass. equal: what is expected of
// the two.
void expect_on_device(PairedWeights& pair, const Compute& compute,
                      const std::function<bool(const TensorId&)>& equal) {
  for_each_tensor(pair.a().config(), [&](const TensorId& id, const bridge::Shape& shape) {
    const at::Tensor ours = device_rows(pair.a(), id, 0, shape[0], compute);
    const at::Tensor theirs = device_rows(pair.b(), id, 0, shape[0], compute);
    EXPECT_EQ(ours.device(), compute.device) << to_string(id);
    EXPECT_EQ(theirs.device(), compute.device) << to_string(id);
    EXPECT_EQ(ours.is_same(theirs), equal(id)) << to_string(id);
  });
}

// What both sides have goes to a device once, and serves both passes there.
TEST(PairedWeights, WhatIsEqualIsCopiedToADeviceOnce) {
  RecordingDevice& recorder = RecordingDevice::fresh();
  DeviceCopies copies(RecordingDevice::device(), 1 << 30);
  Compute compute;
  compute.device = RecordingDevice::device();
  compute.copies = &copies;
  MadeWeights a(mixed_config());
  MadeWeights b(mixed_config());
  int tensors = 0;
  for_each_tensor(a.config(), [&](const TensorId&, const bridge::Shape&) { ++tensors; });
  {
    PairedWeights pair(a, b, {}, kAnyRoundedType, 1, compute);
    expect_on_device(pair, compute, [](const TensorId&) { return true; });
    EXPECT_EQ(recorder.copies, tensors);
    EXPECT_TRUE(pair.finish().differences.empty());
  }
  EXPECT_EQ(recorder.copies, tensors);  // what is only compared stays on the host
  recorder.copies = 0;
  change(b, "layers.0.gate", {9, 10});
  PairedWeights pair(a, b, {}, kAnyRoundedType, 1, compute);
  expect_on_device(pair, compute,
                   [](const TensorId& id) { return to_string(id) != "layers.0.gate"; });
  EXPECT_EQ(recorder.copies, tensors + 1);
  EXPECT_EQ(pair.finish().differences.size(), 1);
}

// Refuses one tensor, as a file that is cut short would.
class CutWeights : public MadeWeights {
 public:
  using MadeWeights::MadeWeights;
  at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
    if (to_string(id) == "layers.2.kv") bridge::bad_input("cut short");
    return MadeWeights::rows(id, begin, end);
  }
};

// What is read ahead and refused is reported by the pass that asks for it, and without a pass by
// the comparison of the rest.
TEST(PairedWeights, AnErrorOfWhatIsReadAheadWaitsForItsPlace) {
  MadeWeights whole(mixed_config());
  CutWeights cut(mixed_config());
  PairedWeights pair(whole, cut, {}, kAnyRoundedType, 1);
  ForwardPass pass(pair.a(), {}, prompt());
  for (int layer = -1; layer < 2; ++layer) EXPECT_NO_THROW(pass.next()) << layer;
  EXPECT_THROW(pass.next(), bridge::Error);
  EXPECT_THROW(pair.finish(), bridge::Error);
}

TEST(PairedWeights, AnErrorOfEitherSideEndsBothPasses) {
  MadeWeights whole(mixed_config());
  CutWeights cut(mixed_config());
  EXPECT_THROW(verdicts_of(whole, cut), bridge::Error);
  EXPECT_THROW(verdicts_of(cut, whole), bridge::Error);
}

}  // namespace
}  // namespace models
