#include "models/compare/paired_weights.h"

#include <algorithm>
#include <utility>

namespace models {

void PairedWeights::Side::keep(const TensorId& id, int64_t begin, at::Tensor rows) {
  kept_bytes_ += static_cast<int64_t>(rows.nbytes());
  kept_.push_back({id, begin, std::move(rows)});
  while (kept_.size() > 1 && kept_bytes_ > kMostKept) {
    kept_bytes_ -= static_cast<int64_t>(kept_.front().rows.nbytes());
    kept_.pop_front();
  }
}

at::Tensor PairedWeights::Side::take(const TensorId& id, int64_t begin, int64_t end) {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) {
    return kept.id == id && kept.begin == begin && kept.rows.size(0) == end - begin;
  });
  if (found == kept_.end()) return {};
  at::Tensor rows = std::move(found->rows);
  kept_bytes_ -= static_cast<int64_t>(rows.nbytes());
  kept_.erase(found);
  return rows;
}

void PairedWeights::Side::drop_all() {
  kept_.clear();
  kept_bytes_ = 0;
}

PairedWeights::PairedWeights(Weights& a, Weights& b, const std::optional<LayerRange>& layers,
                             const RoundedTypes& types, std::optional<int64_t> ahead,
                             const Compute& compute)
    : comparison_(a, b, layers, types, ahead),
      compute_(compute),
      a_(*this, comparison_.a()),
      b_(*this, comparison_.b()) {}

void PairedWeights::advance(const Turns::Function& a, const Turns::Function& b) {
  turns_.run(a, b);
  a_.drop_all();
  b_.drop_all();
}

at::Tensor PairedWeights::rows(Side& side, const TensorId& id, int64_t begin, int64_t end) {
  at::Tensor stored = stored_rows(side, id, begin, end);
  const Roundings& roundings = &side == &a_ ? comparison_.rounded_a() : comparison_.rounded_b();
  if (roundings.empty()) return stored;
  const auto rounding = roundings.find(to_string(id));
  if (rounding == roundings.end()) return stored;
  return rounding->second(rounding->second.of_exact ? side.read().exact_rows(id, begin, end)
                                                    : stored);
}

at::Tensor PairedWeights::stored_rows(Side& side, const TensorId& id, int64_t begin, int64_t end) {
  at::Tensor kept = side.take(id, begin, end);
  if (!kept.defined() && other(side).kept_bytes() >= kWorthATurn) {
    turns_.give();
    kept = side.take(id, begin, end);
  }
  if (kept.defined()) return kept;
  if (!comparison_.expects(id, begin)) return side.read().rows(id, begin, end);
  TensorComparison::Rows rows = comparison_.read(id, begin, end);
  if (rows.a.is_same(rows.b)) rows.a = rows.b = for_both(id, rows.a);
  at::Tensor& theirs = &side == &a_ ? rows.b : rows.a;
  other(side).keep(id, begin, std::move(theirs));
  return &side == &a_ ? rows.a : rows.b;
}

// Rows that both sides have, where and in the type in which both passes ask for them. Tables of
// integers are looked up on the CPU.
at::Tensor PairedWeights::for_both(const TensorId& id, const at::Tensor& rows) const {
  // A tensor that is rounded for a pass is rounded as it is stored.
  const auto rounds = [&](const Roundings& side) {
    return !side.empty() && side.contains(to_string(id));
  };
  const bool is_rounded = rounds(comparison_.rounded_a()) || rounds(comparison_.rounded_b());
  if (is_rounded || !rows.is_floating_point()) return rows;
  const at::Tensor there = on_device(rows, compute_);
  const bool is_widened = compute_.dtype == at::kFloat &&
                          (rows.scalar_type() == at::kBFloat16 || rows.scalar_type() == at::kHalf);
  return is_widened ? there.to(at::kFloat) : there;
}

}  // namespace models
