#include "models/compare/head_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "bridge/io/base/checked.h"
#include "models/compare/bits.h"

namespace models {

void BestTokens::add(const at::Tensor& block, int64_t first) {
  const at::Tensor values = block.contiguous();
  const auto* value = values.const_data_ptr<float>();
  const auto before = bridge::checked_cast<int32_t>(first, "number of a token");
  const auto count = bridge::checked_cast<int32_t>(values.size(1), "number of tokens");
  rows_.resize(static_cast<size_t>(values.size(0)), cuda::BestFive::none());
  vocab_ += count;
  for (cuda::BestFive& row : rows_) {
    for (int32_t column = 0; column < count; ++column) row.add(*value++, before + column);
  }
}

at::Tensor BestTokens::tokens() const {
  if (rows_.empty()) return {};
  const int64_t kept = std::min({count_, vocab_, int64_t{cuda::BestFive::kCount}});
  at::Tensor tokens = at::empty({std::ssize(rows_), kept}, at::kLong);
  auto* token = tokens.mutable_data_ptr<int64_t>();
  for (const cuda::BestFive& row : rows_) {
    for (int64_t place = 0; place < kept; ++place) *token++ = row.tokens[place];
  }
  return tokens;
}

at::Tensor lower_quartile(const at::Tensor& means) {
  const at::Tensor sorted = std::get<0>(means.sort());  // NaN last
  const int64_t last = sorted.size(0) - 1;
  return at::where(sorted[last].isnan(), sorted[last], sorted[last / 4]);
}

void RowQuartile::add(const at::Tensor& distance, size_t part) {
  if (distance.size(0) == 0) return;
  if (part >= parts_.size()) parts_.resize(part + 1);
  Rows& rows = parts_[part];
  const at::Tensor sums = distance.sum(1, /*keepdim=*/false, at::kDouble).to(at::kCPU);
  rows.sums = rows.sums.defined() ? rows.sums + sums : sums;
  rows.values += distance.size(1);
}

double RowQuartile::value() const {
  std::vector<at::Tensor> means;
  for (const Rows& rows : parts_) {
    if (rows.sums.defined()) means.push_back(rows.sums / static_cast<double>(rows.values));
  }
  if (means.empty()) return 0;
  return lower_quartile(at::cat(means)).item().toDouble();
}

void Divergence::Sum::add(const at::Tensor& x, const at::Tensor& weight) {
  // The clamp keeps differences finite if the whole block is -inf.
  const at::Tensor block_largest =
      std::get<0>(x.max(1)).clamp_min(std::numeric_limits<double>::lowest());
  const at::Tensor now = largest.defined() ? at::maximum(largest, block_largest) : block_largest;
  const at::Tensor powers = (x - now.unsqueeze(1)).exp();
  const at::Tensor block_sum = powers.sum(1);
  // A token without probability adds nothing, even if its difference is infinite.
  const at::Tensor block_weighted = (powers * weight).masked_fill(powers.eq(0), 0).sum(1);
  if (largest.defined()) {
    const at::Tensor scale = (largest - now).exp();
    sum = sum * scale + block_sum;
    weighted = (weighted * scale).masked_fill(scale.eq(0), 0) + block_weighted;
  } else {
    sum = block_sum;
    weighted = block_weighted;
  }
  largest = now;
}

at::Tensor Divergence::Sum::log() const {
  return sum.log() + largest;
}

void Divergence::add(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor same = same_bits(a, b);
  const at::Tensor difference = (a.to(at::kDouble) - b.to(at::kDouble)).masked_fill(same, 0);
  a_.add(a.to(at::kDouble), difference);
  b_.add(b.to(at::kDouble), difference);
  const at::Tensor rows = same.all(1);
  same_ = same_.defined() ? same_.logical_and(rows) : rows;
}

double Divergence::sum() const {
  const at::Tensor rows = a_.weighted / a_.sum - a_.log() + b_.log();
  return rows.masked_fill(same_, 0).sum().item().toDouble();
}

}  // namespace models
