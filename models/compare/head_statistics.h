// Statistics that compare two heads' logits, gathered one block of the vocabulary at a time.
//
//   divergence: KL(p || q) = E_p[a - b] - log sum exp a + log sum exp b. Each sum is kept relative
//   to the largest value so far and rescaled when a larger one comes. The divergence of a row is 0
//   if all its bits are the same, and NaN if it has a NaN or +inf that differs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/cuda/head_block.h"

namespace models {

// The k best tokens of every row, five at most.
class BestTokens {
 public:
  explicit BestTokens(int64_t count) : count_(count) {}

  // block: [rows, n] fp32 on the CPU, of the tokens first .. first + n - 1.
  void add(const at::Tensor& block, int64_t first);
  // [rows, k], best first; of equal ones, the lower token. Undefined before there are rows.
  at::Tensor tokens() const;

 private:
  int64_t count_;
  int64_t vocab_ = 0;
  std::vector<cuda::BestFive> rows_;
};

// means: [rows] in double, at least one. Of them the lower quartile, without dimensions, on the
// same device; NaN if any is NaN. Does not wait for the device.
at::Tensor lower_quartile(const at::Tensor& means);

// How far rows are apart: the lower quartile, over rows, of the mean difference of a row's values.
// A quarter of the rows are no farther apart than that, whatever happens in the others.
class RowQuartile {
 public:
  // distance: [rows, n], a block of the values of some rows. part: the number of this group of
  // rows, from 0; a part has the same size in all calls.
  void add(const at::Tensor& distance, size_t part);
  // 0 if nothing was added; NaN if any difference is NaN.
  double value() const;

 private:
  struct Rows {
    at::Tensor sums;  // [rows], in double
    int64_t values = 0;
  };
  std::vector<Rows> parts_;
};

class Divergence {
 public:
  // a, b: [rows, n] fp32.
  void add(const at::Tensor& a, const at::Tensor& b);
  // The sum over the rows.
  double sum() const;

 private:
  // Sums of exp(x - largest), plain and times weight, over the blocks so far, in double.
  struct Sum {
    at::Tensor largest;
    at::Tensor sum;
    at::Tensor weighted;
    void add(const at::Tensor& x, const at::Tensor& weight);
    at::Tensor log() const;
  };

  Sum a_;
  Sum b_;
  at::Tensor same_;  // the rows that are the same so far
};

}  // namespace models
