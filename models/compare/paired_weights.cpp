#include "models/compare/paired_weights.h"

#include <algorithm>
#include <utility>

namespace models {

void PairedWeights::Side::keep(std::string name, int64_t begin, at::Tensor rows) {
  kept_bytes_ += static_cast<int64_t>(rows.nbytes());
  kept_.push_back({std::move(name), begin, std::move(rows)});
  while (kept_.size() > 1 && kept_bytes_ > kMostKept) {
    kept_bytes_ -= static_cast<int64_t>(kept_.front().rows.nbytes());
    kept_.pop_front();
  }
}

at::Tensor PairedWeights::Side::take(const std::string& name, int64_t begin, int64_t end) {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) {
    return kept.name == name && kept.begin == begin && kept.rows.size(0) == end - begin;
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
  const std::string name = to_string(id);
  at::Tensor stored = stored_rows(side, id, name, begin, end);
  const Roundings& roundings = &side == &a_ ? comparison_.rounded_a() : comparison_.rounded_b();
  const auto rounding = roundings.find(name);
  if (rounding == roundings.end()) return stored;
  return rounding->second(rounding->second.of_exact ? side.read().exact_rows(id, begin, end)
                                                    : stored);
}

at::Tensor PairedWeights::stored_rows(Side& side, const TensorId& id, const std::string& name,
                                      int64_t begin, int64_t end) {
  at::Tensor kept = side.take(name, begin, end);
  if (!kept.defined() && other(side).has_kept()) {
    turns_.give();
    kept = side.take(name, begin, end);
  }
  if (kept.defined()) return kept;
  if (!comparison_.expects(id, begin)) return side.read().rows(id, begin, end);
  TensorComparison::Rows rows = comparison_.read(id, begin, end);
  if (rows.a.is_same(rows.b)) rows.a = rows.b = for_both(name, rows.a);
  at::Tensor& theirs = &side == &a_ ? rows.b : rows.a;
  other(side).keep(name, begin, std::move(theirs));
  return &side == &a_ ? rows.a : rows.b;
}

// Rows that both sides have, in the type in which both passes ask for them.
at::Tensor PairedWeights::for_both(const std::string& name, const at::Tensor& rows) const {
  const bool is_computed = compute_.device.is_cpu() && compute_.dtype == at::kFloat &&
                           (rows.scalar_type() == at::kBFloat16 || rows.scalar_type() == at::kHalf);
  // A tensor that is rounded for a pass is rounded as it is stored.
  const bool is_rounded =
      comparison_.rounded_a().contains(name) || comparison_.rounded_b().contains(name);
  return is_computed && !is_rounded ? rows.to(at::kFloat) : rows;
}

}  // namespace models
