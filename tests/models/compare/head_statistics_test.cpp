// Tests that statistics of two heads over blocks of the vocabulary equal those of the whole, as
// ATen computes them.
#include "models/compare/head_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

namespace models {
namespace {

// Returns rows whose largest value comes first, last and in the middle, so that sums are rescaled
// in both directions.
at::Tensor logits(double scale) {
  const std::array<double, 21> values = {9,    1,   -3, 0.5, 2,    1.5, 0,   //
                                         -2,   0,   1,  2,   3,    4,   30,  //
                                         0.25, 0.5, 12, -50, 11.5, 0,   1};
  const at::Tensor base = at::tensor(at::ArrayRef<double>(values)).view({3, 7});
  return (base * scale).to(at::kFloat);
}

at::Tensor one_row(std::vector<double> values) {
  return at::tensor(at::ArrayRef<double>(values)).to(at::kFloat).unsqueeze(0);
}

template <typename Add>
void by_blocks(const at::Tensor& whole, int64_t step, const Add& add) {
  for (int64_t first = 0; first < whole.size(1); first += step) {
    add(first, std::min(step, whole.size(1) - first));
  }
}

double divergence_of(const at::Tensor& a, const at::Tensor& b, int64_t step) {
  Divergence divergence;
  by_blocks(a, step, [&](int64_t first, int64_t count) {
    divergence.add(a.narrow(1, first, count), b.narrow(1, first, count));
  });
  return divergence.sum();
}

TEST(HeadStatistics, DivergenceOfBlocksIsThatOfTheWhole) {
  const at::Tensor a = logits(1);
  const at::Tensor b = logits(0.75).flip(1);
  const at::Tensor log_p = a.to(at::kDouble).log_softmax(1);
  const at::Tensor log_q = b.to(at::kDouble).log_softmax(1);
  const double expected = (log_p.exp() * (log_p - log_q)).sum(1).sum().item().toDouble();
  ASSERT_GT(expected, 1);
  for (const int64_t step : {1, 2, 3, 7}) {
    EXPECT_NEAR(divergence_of(a, b, step), expected, 1e-9) << step;
  }
}

// A masked token has no probability: e^0 / (e^0 + e^1) and the rest, against one and zero.
TEST(HeadStatistics, DivergenceWhereLogitsAreNotFinite) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const int64_t step : {1, 2, 3}) {
    const at::Tensor masked = one_row({-inf, 0, 1});
    EXPECT_EQ(divergence_of(masked, masked, step), 0) << step;
    EXPECT_NEAR(divergence_of(masked, one_row({-inf, 1, 1}), step),
                std::log(2) - (std::log(std::exp(1) + 1) - std::exp(1) / (std::exp(1) + 1)), 1e-6);
    EXPECT_NEAR(divergence_of(masked, one_row({0, 0, 1}), step),
                std::log((2 + std::exp(1)) / (1 + std::exp(1))), 1e-6);
    EXPECT_EQ(divergence_of(one_row({0, 0, 1}), masked, step), inf) << step;
    EXPECT_EQ(divergence_of(one_row({nan, inf, 1}), one_row({nan, inf, 1}), step), 0) << step;
    EXPECT_TRUE(std::isnan(divergence_of(one_row({nan, 0, 1}), masked, step))) << step;
    EXPECT_TRUE(std::isnan(divergence_of(one_row({inf, 0, 1}), masked, step))) << step;
  }
}

TEST(HeadStatistics, BestTokensOfBlocksAreThoseOfTheWhole) {
  const at::Tensor a = logits(1);
  for (const int64_t step : {1, 2, 3, 7}) {
    BestTokens best(3);
    by_blocks(a, step,
              [&](int64_t first, int64_t count) { best.add(a.narrow(1, first, count), first); });
    EXPECT_TRUE(best.tokens().equal(std::get<1>(a.topk(3, 1)))) << step;
  }
}

TEST(HeadStatistics, OfEqualTokensTheLowerIsBetter) {
  BestTokens best(1);
  const at::Tensor equal = one_row({1, 2, 2});
  best.add(equal, 0);
  best.add(equal, 3);
  EXPECT_EQ(best.tokens().item().toLong(), 1);
}

// The vocabulary has fewer tokens than requested.
TEST(HeadStatistics, ASmallVocabulary) {
  BestTokens best(5);
  best.add(one_row({1, 3, 2}), 0);
  EXPECT_TRUE(best.tokens().equal(one_row({1, 2, 0}).to(at::kLong)));
}

// Five rows in two parts, with the means 1, 2, 3, 4 and 100.
TEST(HeadStatistics, TheQuartileOfRows) {
  const at::Tensor rows = at::tensor({1., 2., 100., 3., 4.}).unsqueeze(1);
  RowQuartile quartile;
  EXPECT_EQ(quartile.value(), 0);
  for (const double part_of_it : {0.5, 1.5}) {
    quartile.add(rows.narrow(0, 0, 3).mul(part_of_it).expand({3, 4}), 0);
    quartile.add(rows.narrow(0, 3, 2).mul(part_of_it).expand({2, 4}), 1);
  }
  EXPECT_DOUBLE_EQ(quartile.value(), 2);
  quartile.add(at::full({1, 4}, std::nan("")), 2);
  EXPECT_TRUE(std::isnan(quartile.value()));
}

}  // namespace
}  // namespace models
