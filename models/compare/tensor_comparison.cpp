#include "models/compare/tensor_comparison.h"

#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"
#include "models/compare/bits.h"
#include "models/compare/permutation.h"

namespace models {
namespace {

std::map<std::string, std::pair<TensorId, bridge::Shape>> tensors_of(const Weights& weights) {
  std::map<std::string, std::pair<TensorId, bridge::Shape>> tensors;
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    tensors.emplace(to_string(id), std::pair(id, shape));
  });
  return tensors;
}

// 3 for "layers.3.attention.heads"; -1 for a field outside the decoder layers.
int64_t layer_of(std::string_view field) {
  constexpr std::string_view kLayers = "layers.";
  int64_t layer = -1;
  if (field.starts_with(kLayers)) {
    std::from_chars(field.data() + kLayers.size(), field.data() + field.size(), layer);
  }
  return layer;
}

bool is_meant(const std::optional<LayerRange>& layers, const TensorId& id) {
  return !layers || layers->contains(id);
}

// Compares the values of one tensor on two sides, one block of rows after the other.
class Values {
 public:
  Values(Role role, RoundedTypes types) : role_(role), types_(std::move(types)) {}

  void add(const at::Tensor& a, const at::Tensor& b) {
    const int64_t here = count_different(a, b);
    types_differ_ = a.scalar_type() != b.scalar_type();
    if (different_ == 0 && here > 0) {
      rounds_a_ = roundings(role_, a.scalar_type(), b.scalar_type(), types_);
      rounds_b_ = roundings(role_, b.scalar_type(), a.scalar_type(), types_);
    }
    // A rounding that explains the blocks that differ must also leave the equal blocks unchanged.
    keep_those(rounds_a_, a, b);
    keep_those(rounds_b_, b, a);
    if (here == 0) return;
    different_ += here;
    keep_larger(largest_, distance_of(a, b).max().item().toDouble());
  }

  int64_t different() const { return different_; }
  bool types_differ() const { return types_differ_; }
  bool is_rounding() const { return !rounds_a_.empty() || !rounds_b_.empty(); }
  // The rounding of the first or of the second side; nullptr if none explains the difference.
  const Rounding* a_rounded() const { return rounds_a_.empty() ? nullptr : &rounds_a_[0]; }
  const Rounding* b_rounded() const { return rounds_b_.empty() ? nullptr : &rounds_b_[0]; }
  double largest() const { return largest_; }
  std::string text(int64_t elements) const {
    const std::string found = fmt::format("{} of {} values differ", different_, elements);
    return std::isfinite(largest_) ? fmt::format("{}, by {:.3g} at most", found, largest_)
                                   : found + ", NaN or infinity among them";
  }

 private:
  static void keep_those(std::vector<Rounding>& rounds, const at::Tensor& from,
                         const at::Tensor& to) {
    std::erase_if(
        rounds, [&](const Rounding& rounding) { return count_different(rounding(from), to) != 0; });
  }

  Role role_;
  RoundedTypes types_;
  bool types_differ_ = false;
  int64_t different_ = 0;
  double largest_ = 0;
  std::vector<Rounding> rounds_a_;
  std::vector<Rounding> rounds_b_;
};

template <typename RowsA, typename RowsB>
Values compare_values(Role role, const RoundedTypes& types, const bridge::Shape& shape,
                      const RowsA& rows_a, const RowsB& rows_b) {
  const int64_t step = block_rows(shape);
  return_freed_memory(shape);
  Values values(role, types);
  for (int64_t first = 0; first < shape[0]; first += step) {
    const int64_t last = std::min(first + step, shape[0]);
    values.add(rows_a(first, last), rows_b(first, last));
  }
  return values;
}

void compare_tensor(Weights& a, Weights& b, const TensorId& id, const bridge::Shape& shape,
                    const RoundedTypes& types, TensorVerdict& verdict) {
  const auto compare = [&](auto rows) {
    return compare_values(
        id.role, types, shape,
        [&](int64_t first, int64_t last) { return (a.*rows)(id, first, last); },
        [&](int64_t first, int64_t last) { return (b.*rows)(id, first, last); });
  };
  Values values = compare(&Weights::rows);
  if (values.different() == 0) return;
  const std::string name = to_string(id);
  const std::string what = values.text(bridge::element_count(shape));
  const double largest = values.largest();
  // A conversion from FP8 to FP16 rounds the exact values, which were never BF16.
  const bool of_exact = values.types_differ() && !values.is_rounding();
  if (of_exact) values = compare(&Weights::exact_rows);
  const auto list_rounded = [&](Roundings& side, Rounding rounding, std::string_view who) {
    rounding.of_exact = of_exact;
    side.emplace(name, rounding);
    verdict.rounded.push_back(
        {name,
         fmt::format("rounded to {}{} in the {}: {}", at::toString(rounding.type),
                     rounding.around_zero ? " around zero" : "", who, what),
         largest});
  };
  if (values.a_rounded() != nullptr) {
    list_rounded(verdict.rounded_a, *values.a_rounded(), "second");
  } else if (values.b_rounded() != nullptr) {
    list_rounded(verdict.rounded_b, *values.b_rounded(), "first");
  } else {
    verdict.differences.push_back({name, what, largest});
  }
}

void compare_copies(Weights& weights, TensorVerdict& verdict) {
  for (const Weights::Copy& copy : weights.copies()) {
    ++verdict.compared;
    const std::string name = bridge::printable(copy.name);
    const bridge::Shape shape = weights.shape(copy.of);
    const bridge::Shape found = weights.copy_shape(copy);
    if (found != shape) {
      verdict.differences.push_back(
          {name, fmt::format("{}, but {} is {}", bridge::shape_text(found), to_string(copy.of),
                             bridge::shape_text(shape))});
      continue;
    }
    const Values values = compare_values(
        copy.of.role, {}, shape,
        [&](int64_t first, int64_t last) { return weights.copy_rows(copy, first, last); },
        [&](int64_t first, int64_t last) { return weights.rows(copy.of, first, last); });
    if (values.different() == 0) continue;
    verdict.differences.push_back({name,
                                   fmt::format("no copy of {}: {}", to_string(copy.of),
                                               values.text(bridge::element_count(shape))),
                                   values.largest()});
  }
}

}  // namespace

std::vector<FieldDifference> compare_configurations(const ModelConfig& a, const ModelConfig& b,
                                                    const std::optional<LayerRange>& layers) {
  const auto is_left_out = [&](std::string_view field) {
    if (!layers) return false;
    const int64_t layer = layer_of(field);
    return field.starts_with("mtp.") || field.starts_with("vision.") ||
           (layer >= 0 && !layers->contains(layer));
  };
  std::map<std::string, std::string> other;
  for (auto& [field, value] : describe(b)) {
    if (!is_left_out(field)) other.emplace(field, value);
  }
  std::vector<FieldDifference> differences;
  for (const auto& [field, value] : describe(a)) {
    if (is_left_out(field)) continue;
    const auto found = other.find(field);
    if (found == other.end()) {
      differences.push_back({field, value, ""});
      continue;
    }
    if (found->second != value) differences.push_back({field, value, found->second});
    other.erase(found);
  }
  for (const auto& [field, value] : other) differences.push_back({field, "", value});
  return differences;
}

TensorVerdict compare_tensors(Weights& a, Weights& b, const std::optional<LayerRange>& layers,
                              const RoundedTypes& types) {
  const c10::InferenceMode no_autograd;
  TensorVerdict verdict;
  auto others = tensors_of(b);
  for_each_tensor(a.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    if (!is_meant(layers, id)) return;
    const std::string name = to_string(id);
    ++verdict.compared;
    const auto other = others.find(name);
    if (other == others.end()) {
      verdict.differences.push_back({name, "only in the first"});
      return;
    }
    const bridge::Shape theirs = other->second.second;
    others.erase(other);
    if (theirs != shape) {
      verdict.differences.push_back(
          {name, fmt::format("{} and {}", bridge::shape_text(shape), bridge::shape_text(theirs))});
      return;
    }
    compare_tensor(a, b, id, shape, types, verdict);
  });
  for (const auto& [name, other] : others) {
    if (!is_meant(layers, other.first)) continue;
    ++verdict.compared;
    verdict.differences.push_back({name, "only in the second"});
  }
  if (!layers || layers->has_rest) {
    compare_copies(a, verdict);
    compare_copies(b, verdict);
  }
  std::set<std::string> names;
  for (const TensorDifference& found : verdict.differences) names.insert(found.name);
  verdict.permutations = permutations_among(a, b, names);
  return verdict;
}

}  // namespace models
