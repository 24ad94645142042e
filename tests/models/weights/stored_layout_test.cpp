// Parts of stored tensors, against rows written out by hand.
#include "models/weights/stored_layout.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

namespace models {
namespace {

// The first numbers of the rows of a part of a tensor whose rows count from 0.
std::vector<int64_t> rows_of(const StoredPart& part, const bridge::Shape& shape) {
  const at::Tensor whole = at::arange(bridge::element_count(shape), at::kLong).view(shape);
  const at::Tensor view = part.of(whole);
  EXPECT_TRUE(view.is_alias_of(whole));
  const at::Tensor found = StoredPart::joined(view);
  EXPECT_EQ(found.sizes(), at::IntArrayRef(part.shape));
  const int64_t width = bridge::element_count(shape) / shape[0];
  const at::Tensor firsts = found.flatten(1).select(1, 0).floor_divide(width).contiguous();
  const int64_t* first = firsts.const_data_ptr<int64_t>();
  return {first, first + firsts.numel()};
}

TEST(StoredPart, AllOfAMatrix) {
  EXPECT_EQ(rows_of({0, 0, {3, 0, 3, 3, 3}, {3, 2}}, {3, 2}), (std::vector<int64_t>{0, 1, 2}));
}

// A padded vocabulary, and the second half of a gated linear.
TEST(StoredPart, OneRun) {
  EXPECT_EQ(rows_of({0, 0, {2, 0, 2, 2, 0}, {2, 3}}, {4, 3}), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(rows_of({0, 0, {2, 2, 2, 4, 4}, {2, 3}}, {4, 3}), (std::vector<int64_t>{2, 3}));
}

// The keys of linear_qkv: two groups of two queries, a key and a value, a row each.
TEST(StoredPart, ARunInEachStride) {
  const RowPattern keys = {2, 2, 1, 4, 8};
  EXPECT_EQ(rows_of({0, 0, keys, {2, 3}}, {8, 3}), (std::vector<int64_t>{2, 6}));
  const RowPattern queries = {4, 0, 2, 4, 8};
  EXPECT_EQ(rows_of({0, 0, queries, {4, 3}}, {8, 3}), (std::vector<int64_t>{0, 1, 4, 5}));
}

// Layers and experts stacked on first axes count as rows: expert 1 of layer 1 of two of each.
TEST(StoredPart, InStackedTensors) {
  const bridge::Shape stored = {2, 2, 4, 3};
  const at::Tensor whole = at::arange(48, at::kLong).view(stored);
  const StoredPart up{0, 12, {2, 2, 2, 4, 4}, {2, 3}};
  EXPECT_TRUE(StoredPart::joined(up.of(whole)).equal(whole[1][1].narrow(0, 2, 2)));
  const StoredPart vector{0, 3, {3, 0, 3, 3, 3}, {3}};
  const at::Tensor vectors = at::arange(6, at::kLong).view({2, 3});
  EXPECT_TRUE(StoredPart::joined(vector.of(vectors)).equal(vectors[1]));
}

// The odd rows of the second of two matrices, which are stored [in, out].
TEST(StoredPart, Transposed) {
  const at::Tensor whole = at::arange(24, at::kLong).view({2, 3, 4});
  const StoredPart up{0, 3, {2, 1, 1, 2, 4}, {2, 3}, 0, 0, true};
  const at::Tensor rows = StoredPart::joined(up.of(whole));
  EXPECT_TRUE(rows.equal(at::tensor({13, 17, 21, 15, 19, 23}, at::kLong).view({2, 3})));
  const at::Tensor back = at::zeros({2, 3, 4}, at::kLong);
  up.put(up.by_run(rows), back);
  EXPECT_TRUE(StoredPart::joined(up.of(back)).equal(rows));
  EXPECT_TRUE(back.sum().equal(rows.sum()));
}

// All columns from the fourth on, then the first three.
TEST(StoredPart, ColumnsThatGoOnAtTheFirst) {
  const at::Tensor whole = at::zeros({2, 6}, at::kLong);
  const StoredPart part{0, 0, {2, 0, 2, 2, 2}, {2, 6}, 3, 6};
  part.put(part.by_run(at::arange(12, at::kLong).view({2, 6})), whole);
  EXPECT_TRUE(
      whole.equal(at::tensor({3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8}, at::kLong).view({2, 6})));
}

TEST(StoredPart, Columns) {
  const at::Tensor whole = at::arange(12, at::kLong).view({2, 6});
  const StoredPart part{0, 0, {2, 0, 2, 2, 2}, {2, 2}, 3, 6};
  EXPECT_TRUE(StoredPart::joined(part.of(whole))
                  .equal(at::tensor({3, 4, 9, 10}).to(at::kLong).view({2, 2})));
}

// What is written into the view lies in the stored tensor, and nowhere else.
TEST(StoredPart, TakesValues) {
  const at::Tensor whole = at::zeros({8, 1});
  const StoredPart queries{0, 0, {4, 0, 2, 4, 8}, {4, 1}};
  queries.of(whole).copy_(queries.by_run(at::arange(1, 5, at::kFloat).view({4, 1})));
  EXPECT_TRUE(whole.flatten().equal(at::tensor({1.0F, 2.0F, 0.0F, 0.0F, 3.0F, 4.0F, 0.0F, 0.0F})));
}

}  // namespace
}  // namespace models
