// Linears by blocks of rows: of whole numbers so small that every sum is exact.
#include "models/forward/linear.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

namespace models {
namespace {

class OneWeight : public Weights {
 public:
  explicit OneWeight(bridge::Shape shape)
      : shape_(std::move(shape)),
        whole_(at::arange(shape_[0] * shape_[1]).remainder(11).to(at::kBFloat16).view(shape_)) {}

  const ModelConfig& config() const override { return config_; }
  bridge::Shape shape(const TensorId& /*id*/) override { return shape_; }
  at::Tensor rows(const TensorId& /*id*/, int64_t begin, int64_t end) override {
    most_rows = std::max(most_rows, end - begin);
    return whole_.slice(0, begin, end).clone();
  }
  std::string source(const TensorId& id) override { return to_string(id); }

  const at::Tensor& whole() const { return whole_; }
  int64_t most_rows = 0;

 private:
  ModelConfig config_;
  bridge::Shape shape_;
  at::Tensor whole_;
};

TEST(Linear, BlocksHold16MiElements) {
  EXPECT_EQ(linear_rows({4096, 4096}), 4096);
  EXPECT_EQ(linear_rows({32768, 512}), 32768);
  EXPECT_EQ(linear_rows({18432, 7168}), 2304) << "2340, in whole blocks of 128 rows";
  EXPECT_EQ(linear_rows({7168, 18432}), 896);
  EXPECT_EQ(linear_rows({1000, 1 << 20}), 16);
  EXPECT_EQ(linear_rows({3, 1 << 25}), 1);
}

TEST(Linear, OfALargeWeightIsThatOfItsBlocks) {
  OneWeight weight({5000, 4096});
  const SectionWeights weights(weight, {});
  const at::Tensor x = at::arange(2 * 3 * 4096).remainder(5).to(at::kFloat).view({2, 3, 4096});
  const at::Tensor expected = x.matmul(weight.whole().to(at::kFloat).t());
  {
    const c10::InferenceMode no_autograd;
    EXPECT_TRUE(at::equal(linear(x, weights, Role::kQ), expected));
    EXPECT_EQ(weight.most_rows, 4096);
  }
  EXPECT_TRUE(at::equal(linear(x, weights, Role::kQ), expected));
  EXPECT_EQ(weight.most_rows, 5000) << "a gradient needs all of it";
}

}  // namespace
}  // namespace models
