// The activation checkpoint by itself: gradients against those without one, arguments that are
// none, and tensors that come in by the closure, which Megatron-LM's pull request 4593 was about.
#include "models/forward/checkpoint.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/sequences.h"
#include "models/train/saved_bytes.h"

namespace models {
namespace {

// Arguments are tensors or none: offsets, or whatever else cannot be saved, do not compile.
using Arguments = std::vector<at::Tensor>;
static_assert(
    !std::is_invocable_v<decltype(checkpoint), std::string, RecomputedPart, Offsets, RunObserver*>);
static_assert(!std::is_convertible_v<Offsets, at::Tensor>);

at::Tensor leaf(int64_t rows, double first) {
  const at::Tensor numbers = at::arange(rows * 4, at::kFloat) * 0.1 + first;
  return numbers.view({rows, 4}).clone().set_requires_grad(true);
}

struct Example {
  at::Tensor weight = leaf(4, -0.7);
  at::Tensor x = leaf(50, -2);

  // Three layers with one weight.
  Arguments part(const Arguments& given) const {
    at::Tensor y = given[0];
    for (int layer = 0; layer < 3; ++layer) y = y.matmul(weight).sigmoid();
    return {y, y.sum()};
  }
  RecomputedPart as_part() const {
    return [this](const Arguments& given) { return part(given); };
  }
};

at::Tensor loss_of(const Arguments& results) {
  return (results[0] * results[0]).sum();
}

void expect_error(const RecomputedPart& part, const Arguments& arguments, const std::string& text) {
  try {
    const Arguments results = checkpoint("the part", part, arguments, nullptr);
    loss_of(results).backward();
    FAIL();
  } catch (const bridge::Error& error) {
    EXPECT_EQ(error.code(), bridge::Code::kInternal);
    EXPECT_NE(error.message().find("the part"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find(text), std::string::npos) << error.message();
  }
}

TEST(Checkpoint, GradientsAreThoseWithoutOne) {
  const Example kept;
  const Example again;
  const Arguments results = kept.part({kept.x * 2});
  const Arguments recomputed = checkpoint("the part", again.as_part(), {again.x * 2}, nullptr);
  EXPECT_TRUE(results[0].equal(recomputed[0]));
  loss_of(results).backward();
  loss_of(recomputed).backward();
  EXPECT_TRUE(kept.weight.grad().equal(again.weight.grad()));
  EXPECT_TRUE(kept.x.grad().equal(again.x.grad()));
}

// The second result has no part in the loss.
TEST(Checkpoint, ResultsWithoutAGradient) {
  const Example example;
  const Arguments results = checkpoint("the part", example.as_part(), {example.x * 2}, nullptr);
  results[1].backward();
  EXPECT_GT(example.weight.grad().norm().item<double>(), 0);
}

TEST(Checkpoint, ArgumentsThatAreNone) {
  const Example example;
  int runs = 0;
  const RecomputedPart part = [&](const Arguments& given) {
    EXPECT_FALSE(given[0].defined());
    EXPECT_TRUE(given[1].defined());
    EXPECT_FALSE(given[2].defined());
    ++runs;
    return example.part({given[1]});
  };
  const at::Tensor none;
  loss_of(checkpoint("the part", part, {none, example.x * 2, none}, nullptr)).backward();
  EXPECT_EQ(runs, 2);
}

// What TransformerEngine's checkpoint does with tensors that it is given by keyword: all of them
// are in the closure, and the result has no gradient at all. The values are right.
TEST(Checkpoint, AllTensorsCaptured) {
  const Example example;
  const at::Tensor hidden = example.x * 2;
  const RecomputedPart part = [&](const Arguments&) { return example.part({hidden}); };
  expect_error(part, {}, "no argument needs a gradient");
}

// One argument alone brings the gradient of the weights back, and the captured tensor's stays lost.
TEST(Checkpoint, OneTensorCaptured) {
  const Example example;
  const at::Tensor captured = example.x * 3;
  const RecomputedPart part = [&](const Arguments& given) {
    return Arguments{given[0] * captured, given[0].sum()};
  };
  expect_error(part, {example.x * 2}, "made by MulBackward");
}

// A tensor that needs no gradient may come in by the closure.
TEST(Checkpoint, TablesMayBeCaptured) {
  const Example example;
  const at::Tensor table = leaf(50, 1).detach();
  const RecomputedPart part = [&](const Arguments& given) {
    return Arguments{given[0] * table, given[0].sum()};
  };
  loss_of(checkpoint("the part", part, {example.x * 2}, nullptr)).backward();
  EXPECT_TRUE(example.x.grad().defined());
}

// Bytes that are kept: of the argument alone, or of the result of each of three layers, which are
// the inputs of the next ones too.
TEST(SavedBytes, OfAPart) {
  constexpr int64_t kTensor = 50 * 4 * 4;
  const Example example;
  {
    const SavedBytes saved;
    const at::Tensor hidden = example.x * 2;
    const Arguments results = example.part({hidden});
    EXPECT_EQ(saved.now(), 4 * kTensor);
  }
  const SavedBytes saved;
  const Arguments results = checkpoint("the part", example.as_part(), {example.x * 2}, nullptr);
  EXPECT_EQ(saved.now(), kTensor);
  results[0].sum().backward();
  EXPECT_EQ(saved.peak(), 4 * kTensor);
  EXPECT_EQ(saved.now(), 0);
}

TEST(SavedBytes, WeightsDoNotCount) {
  const Example example;
  const SavedBytes saved;
  const at::Tensor product = example.x.matmul(example.weight.t());
  EXPECT_EQ(saved.now(), 0);
}

}  // namespace
}  // namespace models
