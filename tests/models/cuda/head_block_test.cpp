// The fused statistics of two heads, run on the CPU over the whole grid, against ATen's softmax,
// sort and sums of the same logits.
#include "models/cuda/head_block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "models/compare/bits.h"
#include "models/compare/head_rows.h"
#include "models/compare/head_statistics.h"
#include "tests/models/cuda/host_grid.h"

namespace models {
namespace {

using cuda::HeadRow;

constexpr double kInf = std::numeric_limits<double>::infinity();

// A block of `step` tokens after the other.
std::vector<HeadRow> gathered(const at::Tensor& a, const at::Tensor& b, int64_t step) {
  std::vector<HeadRow> rows(static_cast<size_t>(a.size(0)));
  for (int64_t first = 0; first < a.size(1); first += step) {
    const int64_t count = std::min(step, a.size(1) - first);
    const at::Tensor block_a = a.narrow(1, first, count).contiguous();
    const at::Tensor block_b = b.narrow(1, first, count).contiguous();
    cuda::run_reduce(
        cuda::HeadBlock{block_a.const_data_ptr<float>(), block_b.const_data_ptr<float>(), a.size(0),
                        static_cast<int32_t>(count), static_cast<int32_t>(first), rows.data()});
  }
  return rows;
}

// Rows of logits from -20 to 20 in steps of 1/8, so that many are equal.
at::Tensor logits(int64_t rows, int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<double> values;
  for (int64_t i = 0; i < rows * columns; ++i) {
    values.push_back((static_cast<double>(random() % 321) - 160) / 8);
  }
  return at::tensor(at::ArrayRef<double>(values)).to(at::kFloat).view({rows, columns});
}

at::Tensor one_row(const std::vector<double>& values) {
  return at::tensor(at::ArrayRef<double>(values)).to(at::kFloat).unsqueeze(0);
}

std::vector<int64_t> tokens_of(const cuda::BestFive& best) {
  return {std::begin(best.tokens), std::end(best.tokens)};
}

// The five first places of a stable sort, which has NaN before all.
std::vector<int64_t> best_of(const at::Tensor& row) {
  const at::Tensor places = std::get<1>(row.sort(/*stable=*/true, 0, /*descending=*/true));
  const auto* const first = places.const_data_ptr<int64_t>();
  return {first, first + 5};
}

TEST(CudaHeadBlock, EveryStatisticIsThatOfTheWholeRow) {
  const at::Tensor a = logits(3, 1000, 1);
  at::Tensor b = a.clone();
  b.narrow(0, 1, 2).copy_(logits(2, 1000, 2));  // the first rows are the same
  const at::Tensor distance = distance_of(a, b);
  const at::Tensor log_p = a.to(at::kDouble).log_softmax(1);
  const at::Tensor log_q = b.to(at::kDouble).log_softmax(1);
  const at::Tensor divergence = (log_p.exp() * (log_p - log_q)).sum(1);
  for (const int64_t step : {64, 300, 1000}) {
    const std::vector<HeadRow> rows = gathered(a, b, step);
    for (int64_t i = 0; i < 3; ++i) {
      const HeadRow& row = rows[static_cast<size_t>(i)];
      EXPECT_EQ(row.difference.different, count_different(a[i], b[i])) << i;
      EXPECT_EQ(row.difference.largest, distance[i].max().item().toFloat()) << i;
      // Multiples of 1/64 that are small enough for every sum to be exact.
      EXPECT_EQ(row.distance, distance[i].sum(at::kDouble).item().toDouble()) << i;
      EXPECT_EQ(row.sum, a[i].sum(at::kDouble).item().toDouble()) << i;
      EXPECT_EQ(row.squares, a[i].to(at::kDouble).pow(2).sum().item().toDouble()) << i;
      EXPECT_EQ(tokens_of(row.best_a), best_of(a[i])) << i;
      EXPECT_EQ(tokens_of(row.best_b), best_of(b[i])) << i;
      EXPECT_NEAR(divergence_of(row), divergence[i].item().toDouble(), 1e-12) << i;
      EXPECT_EQ(same_best(row), best_of(a[i])[0] == best_of(b[i])[0]) << i;
    }
    EXPECT_EQ(divergence_of(rows[0]), 0);
    EXPECT_TRUE(same_best_five(rows[0]));
    EXPECT_FALSE(same_best_five(rows[1]));
  }
}

TEST(CudaHeadBlock, TheBestFiveInAnyOrder) {
  const at::Tensor a = one_row({5, 4, 3, 2, 1, 0});
  EXPECT_TRUE(same_best_five(gathered(a, one_row({1, 2, 3, 4, 5, 0}), 6)[0]));
  EXPECT_FALSE(same_best(gathered(a, one_row({1, 2, 3, 4, 5, 0}), 6)[0]));
  EXPECT_FALSE(same_best_five(gathered(a, one_row({5, 4, 3, 2, 0, 1}), 6)[0]));
}

TEST(CudaHeadBlock, ASmallVocabularyAndNaN) {
  const at::Tensor a = one_row({1, std::nan(""), 3, -kInf});
  const HeadRow row = gathered(a, one_row({0, 0, 0, 0}), 2)[0];
  EXPECT_EQ(tokens_of(row.best_a), (std::vector<int64_t>{1, 2, 0, 3, -1}));
  EXPECT_EQ(tokens_of(row.best_b), (std::vector<int64_t>{0, 1, 2, 3, -1}));
}

// The cases of head_statistics_test.cpp, whose class defines what they give.
TEST(CudaHeadBlock, DivergenceWhereLogitsAreNotFinite) {
  const double nan = std::nan("");
  const std::vector<std::vector<double>> rows = {
      {-kInf, 0, 1},  {-kInf, 1, 1},         {0, 0, 1},
      {nan, kInf, 1}, {nan, 0, 1},           {kInf, 0, 1},
      {0, -kInf, 1},  {-kInf, -kInf, -kInf}, {-3e38, 0, 3e38}};
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < rows.size(); ++j) {
      const at::Tensor a = one_row(rows[i]);
      const at::Tensor b = one_row(rows[j]);
      Divergence whole;
      whole.add(a, b);
      const double expected = whole.sum();
      for (const int64_t step : {1, 2, 3}) {
        const double found = divergence_of(gathered(a, b, step)[0]);
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(found)) << i << " and " << j;
        } else if (std::isinf(expected)) {
          EXPECT_EQ(found, expected) << i << " and " << j;
        } else {
          EXPECT_NEAR(found, expected, 1e-12 * std::max(1.0, std::fabs(expected)))
              << i << " and " << j;
        }
      }
    }
  }
}

TEST(CudaExponential, WithinTwoUnitsOfTheLastPlace) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200000; ++i) {
    const double x = -std::ldexp(static_cast<double>(random() >> 11), -53 - i % 40 + 10);
    const double expected = std::exp(x);
    const double unit = std::nextafter(expected, 2) - expected;
    ASSERT_NEAR(cuda::exponential(x), expected, 2 * unit) << x;
  }
}

TEST(CudaExponential, TheEdges) {
  EXPECT_EQ(cuda::exponential(0), 1);
  EXPECT_EQ(cuda::exponential(-0.0), 1);
  EXPECT_EQ(cuda::exponential(-kInf), 0);
  EXPECT_EQ(cuda::exponential(-746.5), 0);
  EXPECT_EQ(cuda::exponential(-745), std::numeric_limits<double>::denorm_min());
  EXPECT_TRUE(std::isnan(cuda::exponential(std::nan(""))));
}

}  // namespace
}  // namespace models
