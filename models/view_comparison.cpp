#include "models/view_comparison.h"

#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "bridge/io/dtype.h"
#include "bridge/io/error.h"
#include "models/bits.h"
#include "models/forward.h"
#include "models/head_statistics.h"
#include "models/linear.h"
#include "models/permutation.h"
#include "models/tolerance.h"

namespace models {
namespace {

constexpr int64_t kBest = 5;

std::map<std::string, std::pair<TensorId, bridge::Shape>> tensors_of(const Weights& weights) {
  std::map<std::string, std::pair<TensorId, bridge::Shape>> tensors;
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    tensors.emplace(to_string(id), std::pair(id, shape));
  });
  return tensors;
}

// "layers.3.attention.heads": 3; -1: no decoder layer's.
int64_t layer_of(std::string_view field) {
  constexpr std::string_view kLayers = "layers.";
  int64_t layer = -1;
  if (field.starts_with(kLayers)) {
    std::from_chars(field.data() + kLayers.size(), field.data() + field.size(), layer);
  }
  return layer;
}

bool is_meant(const std::optional<LayerRange>& layers, const TensorId& id) {
  return !layers || (id.section == Section::kLayer && layers->contains(id.index));
}

void keep_larger(double& largest, double value) {
  if (!(value <= largest)) largest = value;  // a NaN stays
}

// The values of one tensor on two sides, a block of rows after the other.
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
    // What rounds the blocks that differ must leave equal ones as they are.
    keep_those(rounds_a_, a, b);
    keep_those(rounds_b_, b, a);
    if (here == 0) return;
    different_ += here;
    keep_larger(largest_, distance_of(a, b).max().item().toDouble());
  }

  int64_t different() const { return different_; }
  bool types_differ() const { return types_differ_; }
  bool is_rounding() const { return !rounds_a_.empty() || !rounds_b_.empty(); }
  // Of the first and of the second; nullptr: it is no rounding.
  const Rounding* a_rounded() const { return rounds_a_.empty() ? nullptr : &rounds_a_[0]; }
  const Rounding* b_rounded() const { return rounds_b_.empty() ? nullptr : &rounds_b_[0]; }
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
  return_freed_memory();
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
  // FP8 that became FP16 was never BF16.
  const bool of_exact = values.types_differ() && !values.is_rounding();
  if (of_exact) values = compare(&Weights::exact_rows);
  const auto list_rounded = [&](Roundings& side, Rounding rounding, std::string_view who) {
    rounding.of_exact = of_exact;
    side.emplace(name, rounding);
    verdict.rounded.push_back(
        {name, fmt::format("rounded to {}{} in the {}: {}", at::toString(rounding.type),
                           rounding.around_zero ? " around zero" : "", who, what)});
  };
  if (values.a_rounded() != nullptr) {
    list_rounded(verdict.rounded_a, *values.a_rounded(), "second");
  } else if (values.b_rounded() != nullptr) {
    list_rounded(verdict.rounded_b, *values.b_rounded(), "first");
  } else {
    verdict.differences.push_back({name, what});
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
    verdict.differences.push_back({name, fmt::format("no copy of {}: {}", to_string(copy.of),
                                                     values.text(bridge::element_count(shape)))});
  }
}

// Why the two have no states and logits in common; "" where they have.
std::string mismatch(const ModelConfig& a, const ModelConfig& b, bool heads) {
  const auto differ = [](std::string_view what, auto ours, auto theirs) {
    return ours == theirs ? "" : fmt::format("{}: {} and {}", what, ours, theirs);
  };
  for (std::string reason :
       {differ("the hidden size", a.hidden, b.hidden), differ("the vocabulary", a.vocab, b.vocab),
        differ("residual streams", a.hyper.streams, b.hyper.streams),
        differ("layers", a.layers.size(), b.layers.size()),
        heads ? differ("MTP depths", a.mtp.size(), b.mtp.size()) : ""}) {
    if (!reason.empty()) return reason;
  }
  return "";
}

StateDifference compare_state(const std::string& name, const at::Tensor& a, const at::Tensor& b,
                              const Compute& compute) {
  const at::Tensor distance = distance_of(a, b);
  StateDifference out;
  out.name = name;
  out.identical = count_different(a, b) == 0;
  out.largest = distance.max().item().toDouble();
  out.mean = distance.mean(at::kDouble).item().toDouble();
  RowQuartile quartile;
  quartile.add(distance.flatten(0, 1).flatten(1), 0);
  out.judged = judged_difference(compute, out.largest, quartile.value());
  const double deviation = a.numel() > 1 ? a.to(at::kFloat).std().item().toDouble() : 0;
  out.allowed = allowed_difference(compute, deviation, name);
  return out;
}

// The logits of one head on both sides, some rows of it and a block of the vocabulary at a time.
class HeadComparison {
 public:
  HeadComparison(std::string name, const Compute& compute) : compute_(compute) {
    out_.name = std::move(name);
  }

  // ours, theirs: [B S, D], what the head reads; a, b: a block of its weights from row `first` on. rows: so many at once.
  void add(const at::Tensor& ours, const at::Tensor& theirs, const at::Tensor& a,
           const at::Tensor& b, int64_t first, int64_t rows) {
    out_.rows = ours.size(0);
    size_t part = 0;
    for (int64_t row = 0; row < out_.rows; row += rows, ++part) {
      const int64_t count = std::min(rows, out_.rows - row);
      if (part == parts_.size()) parts_.emplace_back();
      add(linear(ours.narrow(0, row, count), a).to(at::kCPU, at::kFloat),
          linear(theirs.narrow(0, row, count), b).to(at::kCPU, at::kFloat), first, part);
    }
  }

  HeadDifference finish() {
    const double count = static_cast<double>(values_);
    const double variance = squares_ / count - (sum_ / count) * (sum_ / count);
    out_.mean = distance_ / count;
    out_.judged = judged_difference(compute_, out_.largest, quartile_.value());
    out_.allowed = allowed_difference(compute_, std::sqrt(std::max(0.0, variance)), out_.name);
    for (const Part& part : parts_) {
      out_.divergence += part.divergence.sum() / static_cast<double>(out_.rows);
      const at::Tensor& a = part.best_a.tokens();
      const at::Tensor& b = part.best_b.tokens();
      out_.top1 += a.select(1, 0).eq(b.select(1, 0)).sum().item().toLong();
      out_.top5 += std::get<0>(a.sort(1)).eq(std::get<0>(b.sort(1))).all(1).sum().item().toLong();
    }
    return out_;
  }

 private:
  // Of some rows, over the blocks so far.
  struct Part {
    Divergence divergence;
    BestTokens best_a{kBest};
    BestTokens best_b{kBest};
  };

  void add(const at::Tensor& ours, const at::Tensor& theirs, int64_t first, size_t number) {
    Part& part = parts_[number];
    const at::Tensor distance = distance_of(ours, theirs);
    quartile_.add(distance, number);
    out_.identical = out_.identical && count_different(ours, theirs) == 0;
    keep_larger(out_.largest, distance.max().item().toDouble());
    distance_ += distance.sum(at::kDouble).item().toDouble();
    sum_ += ours.sum(at::kDouble).item().toDouble();
    squares_ += ours.to(at::kDouble).pow(2).sum().item().toDouble();
    values_ += ours.numel();
    part.divergence.add(ours, theirs);
    part.best_a.add(ours, first);
    part.best_b.add(theirs, first);
  }

  Compute compute_;
  HeadDifference out_;
  double distance_ = 0;
  double sum_ = 0;
  double squares_ = 0;
  int64_t values_ = 0;
  RowQuartile quartile_;
  std::vector<Part> parts_;
};

void compare_heads(Weights& a, Weights& b, const Compute& compute,
                   const std::vector<at::Tensor>& ours, const std::vector<at::Tensor>& theirs,
                   ForwardVerdict& verdict) {
  std::vector<HeadComparison> heads;
  for (size_t head = 0; head < ours.size(); ++head) {
    heads.emplace_back(head == 0 ? "logits" : fmt::format("mtp_logits.{}", head - 1), compute);
  }
  const OutputLayer output_a(a, compute);
  const OutputLayer output_b(b, compute);
  for (int64_t first = 0; first < a.config().vocab; first += output_a.step()) {
    const at::Tensor block_a = output_a.block(first);
    const at::Tensor block_b = output_b.block(first);
    for (size_t head = 0; head < heads.size(); ++head) {
      heads[head].add(ours[head].flatten(0, 1), theirs[head].flatten(0, 1), block_a, block_b, first,
                      output_a.rows_at_once());
    }
  }
  for (HeadComparison& head : heads) verdict.heads.push_back(head.finish());
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
  if (!layers) {
    compare_copies(a, verdict);
    compare_copies(b, verdict);
  }
  std::set<std::string> names;
  for (const TensorDifference& found : verdict.differences) names.insert(found.name);
  verdict.permutations = permutations_among(a, b, names);
  return verdict;
}

ForwardVerdict compare_forward(Weights& a, Weights& b, const Compute& compute,
                               const at::Tensor& ids, const std::optional<LayerRange>& layers) {
  const c10::InferenceMode no_autograd;
  ForwardVerdict verdict;
  verdict.not_comparable = mismatch(a.config(), b.config(), !layers);
  if (!verdict.not_comparable.empty()) return verdict;
  ForwardPass pass_a(a, compute, ids, {.layers = layers, .coverage = &verdict.coverage});
  ForwardPass pass_b(b, compute, ids, {.layers = layers});
  while (const std::optional<HiddenState> ours = pass_a.next()) {
    const HiddenState theirs = pass_b.next().value();
    verdict.states.push_back(compare_state(ours->name, ours->hidden, theirs.hidden, compute));
  }
  if (!layers) compare_heads(a, b, compute, pass_a.heads(), pass_b.heads(), verdict);
  return verdict;
}

}  // namespace models
