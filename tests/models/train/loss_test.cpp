// The losses of a step, against numbers computed by hand.
#include "models/train/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/train/router_loss.h"
#include "tests/refusal.h"

namespace models {
namespace {

at::Tensor row(const std::vector<int64_t>& numbers) {
  return at::tensor(at::ArrayRef<int64_t>(numbers)).unsqueeze(0);
}

at::Tensor weights(const std::vector<double>& numbers) {
  return at::tensor(at::ArrayRef<double>(numbers)).to(at::kFloat).unsqueeze(0);
}

TEST(Targets, WithoutLabelsTheNextTokenOfTheSequence) {
  const Targets found = targets_of(row({5, 6, 7, 8, 9}), {}, {}, {0, 3, 5}, {});
  EXPECT_TRUE(found.labels.equal(row({6, 7, 0, 9, 0})));
  EXPECT_TRUE(found.mask.equal(weights({1, 1, 0, 1, 0})));
  const Targets plain = targets_of(row({5, 6, 7}), {}, {}, {}, {});
  EXPECT_TRUE(plain.labels.equal(row({6, 7, 0})));
  EXPECT_TRUE(plain.mask.equal(weights({1, 1, 0})));
}

// A mask without labels applies to the labels that are made.
TEST(Targets, MaskWithoutLabels) {
  const Targets found = targets_of(row({5, 6, 7}), {}, weights({0, 0.5, 1}), {}, {});
  EXPECT_TRUE(found.mask.equal(weights({0, 0.5, 0})));
}

TEST(Targets, LabelsWithoutMask) {
  const Targets found = targets_of(row({5, 6, 7}), row({6, -100, 4}), {}, {}, {});
  EXPECT_TRUE(found.labels.equal(row({6, 0, 4})));
  EXPECT_TRUE(found.mask.equal(weights({1, 0, 1})));
}

// Two and three tokens, padded to four each: the last token before the padding has no successor.
TEST(Targets, PaddingDoesNotCount) {
  const Targets found = targets_of(row({5, 6, 0, 0, 7, 8, 9, 0}), {}, {}, {0, 4, 8}, {2, 7});
  EXPECT_TRUE(found.mask.equal(weights({1, 0, 0, 0, 1, 1, 0, 0})));
}

TEST(Targets, EmptySequencesAndSequencesOfOneToken) {
  const Targets found = targets_of(row({5, 6, 7}), {}, {}, {0, 0, 1, 1, 3}, {});
  EXPECT_TRUE(found.mask.equal(weights({0, 1, 0})));
}

TEST(Targets, EachDepthShiftsBoth) {
  const Targets main = targets_of(row({5, 6, 7, 8, 9}), {}, {}, {0, 3, 5}, {});
  const Targets first = rolled_left(main, {0, 3, 5});
  EXPECT_TRUE(first.labels.equal(row({7, 0, 0, 0, 0})));
  EXPECT_TRUE(first.mask.equal(weights({1, 0, 0, 0, 0})));
  const Targets second = rolled_left(first, {0, 3, 5});
  EXPECT_TRUE(second.mask.equal(weights({0, 0, 0, 0, 0})));
}

// Logits (0, x): a label 1 loses log(1 + exp(-x)), a label 0 log(1 + exp(x)); x = log 3.
struct Head {
  at::Tensor hidden = weights({std::log(3.0), std::log(3.0), 0}).unsqueeze(-1);
  at::Tensor output = weights({0, 1}).view({2, 1});
};

TEST(HeadLoss, OfTokensThatCount) {
  const Head head;
  const HeadLoss loss = head_loss(head.hidden, head.output, {row({1, 0, 1}), weights({1, 0.5, 0})});
  EXPECT_NEAR(loss.sum.item<double>(), std::log(4.0 / 3) + 0.5 * std::log(4.0), 1e-6);
  EXPECT_NEAR(loss.count.item<double>(), 1.5, 1e-7);
}

TEST(HeadLoss, LabelsOutsideTheVocabulary) {
  const Head head;
  head_loss(head.hidden, head.output, {row({1, 99, 1}), weights({1, 0, 1})});
  bridge::expect_error(bridge::Code::kBadInput, "label 2", [&] {
    head_loss(head.hidden, head.output, {row({1, 2, 1}), weights({1, 1, 1})});
  });
}

HeadLoss loss_of(double sum, double count) {
  return {at::tensor(sum), at::tensor(count)};
}

// 6 / 3 + 0.3 / 2 * (4 / 2 + 5 / 1)
TEST(StepLoss, IsMegatrons) {
  const at::Tensor loss = step_loss(loss_of(6, 3), {loss_of(4, 2), loss_of(5, 1)}, 0.3);
  EXPECT_NEAR(loss.item<double>(), 3.05, 1e-12);
}

// A depth that no token counts for loses nothing, whatever its other sums are; megatron-core 0.16.1
// divides zero by zero there.
TEST(StepLoss, WhereNothingCounts) {
  EXPECT_EQ(step_loss(loss_of(6, 3), {loss_of(0, 0)}, 0.3).item<double>(), 2);
  EXPECT_EQ(step_loss(loss_of(0, 0), {}, 0.3).item<double>(), 0);
}

RouterConfig router_of(RouterScore score) {
  RouterConfig router;
  router.score = score;
  router.experts = 2;
  router.chosen = 1;
  return router;
}

// Two tokens with the scores (3/4, 1/4) and (1/4, 3/4), then one with (3/4, 1/4).
TEST(RouterLoss, OfSoftmaxScores) {
  const double x = std::log(3.0);
  const at::Tensor logits = weights({x, 0, 0, x, x, 0}).view({3, 2});
  const RouterConfig router = router_of(RouterScore::kSoftmax);
  // 2 experts * weight / (1 chosen * 3^2) * (7/4 * 2 + 5/4 * 1)
  EXPECT_NEAR(router_loss(router, logits, {}, 0.1).item<double>(), 0.2 / 9 * 4.75, 1e-7);
  // Without the second token: 2 * weight / 2^2 * (3/2 * 2)
  const at::Tensor left_out = at::tensor({0, 1, 0}).to(at::kBool);
  EXPECT_NEAR(router_loss(router, logits, left_out, 0.1).item<double>(), 0.15, 1e-7);
}

// Sigmoids are divided by their sum: (3/4, 1/2) becomes (3/5, 2/5).
TEST(RouterLoss, OfSigmoidScores) {
  const at::Tensor logits = weights({std::log(3.0), 0}).view({1, 2});
  const RouterConfig router = router_of(RouterScore::kSigmoid);
  EXPECT_NEAR(router_loss(router, logits, {}, 0.1).item<double>(), 0.2 * 0.6, 1e-7);
}

TEST(RouterLoss, OfTypesThatHaveOne) {
  TrainingSettings settings;
  EXPECT_FALSE(has_router_loss(settings));
  settings.router_loss = "seq_aux_loss";
  EXPECT_FALSE(has_router_loss(settings));
  settings.router_loss_weight = 0.1;
  EXPECT_TRUE(has_router_loss(settings));
  settings.router_loss = "noaux_tc";
  EXPECT_FALSE(has_router_loss(settings));
}

}  // namespace
}  // namespace models
