#include "models/compare/tensor_comparison.h"

#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <set>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"
#include "models/compare/permutation.h"

namespace models {
namespace {

// Elements of a tensor that is read ahead whole. Passes read a larger one by blocks of their own
// choice.
constexpr int64_t kMostAhead = 16 << 20;

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

bool are_of_one_layer(const TensorId& a, const TensorId& b) {
  return a.section == b.section && a.index == b.index;
}

bool is_meant(const std::optional<LayerRange>& layers, const TensorId& id) {
  return !layers || layers->contains(id);
}

// Adds the time from its making to its end.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Calls visit(begin, end) for blocks of the rows of a tensor from `first` on.
template <typename Visitor>
void for_each_block(const bridge::Shape& shape, int64_t first, int64_t last, const Visitor& visit) {
  const int64_t step = block_rows(shape);
  for (int64_t begin = first; begin < last; begin += step) {
    visit(begin, std::min(begin + step, last));
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

TensorComparison::TensorComparison(Weights& a, Weights& b, const std::optional<LayerRange>& layers,
                                   RoundedTypes types, std::optional<int64_t> ahead)
    : a_(a, ahead.has_value()),
      b_(b, ahead.has_value()),
      layers_(layers),
      types_(std::move(types)),
      ahead_(ahead) {
  const auto others = tensors_of(b);
  for_each_tensor(a.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    if (!is_meant(layers_, id)) return;
    const auto other = others.find(to_string(id));
    if (other == others.end() || other->second.second != shape) return;
    const auto pair = pairs_.emplace(id, Pair{id, shape, order_.size()}).first;
    order_.push_back(&pair->second);
  });
  if (layers_ && !layers_->has_rest) return;
  list_copies(a_);
  list_copies(b_);
}

void TensorComparison::list_copies(Weights& weights) {
  for (Weights::Copy& copy : weights.copies()) {
    bridge::Shape shape = weights.copy_shape(copy);
    const auto of = pairs_.find(copy.of);
    if (of != pairs_.end() && of->second.shape == shape) {
      of->second.copies.push_back(copies_.size());
    }
    const Role role = copy.of.role;
    copies_.push_back({weights, std::move(copy), std::move(shape), ValueComparison(role, {})});
  }
}

const bridge::Shape* TensorComparison::shape(const TensorId& id) const {
  const auto found = pairs_.find(id);
  return found == pairs_.end() ? nullptr : &found->second.shape;
}

bool TensorComparison::expects(const TensorId& id, int64_t begin) const {
  const auto found = pairs_.find(id);
  return found != pairs_.end() && found->second.compared == begin && begin < found->second.shape[0];
}

TensorComparison::Rows TensorComparison::read(const TensorId& id, int64_t begin, int64_t end) {
  const Stopwatch watch(verdict_.seconds);
  Pair& pair = pairs_.at(id);
  settle_skipped(pair);
  Rows rows = read_rows(pair, begin, end, block_after(pair, begin, end));
  if (pair.values && pair.values->different() > 0) settle(pair);
  return rows;
}

void TensorComparison::settle(const TensorId& id) {
  const Stopwatch watch(verdict_.seconds);
  const auto found = pairs_.find(id);
  if (found != pairs_.end()) settle(found->second);
}

void TensorComparison::settle(Pair& pair) {
  if (pair.compared == pair.shape[0]) return;
  const std::optional<RowBlock> block = a_.started();
  if (block && block->id == pair.id) settle_started();
  return_freed_memory(pair.shape);
  for_each_block(pair.shape, pair.compared, pair.shape[0], [&](int64_t begin, int64_t end) {
    read_rows(pair, begin, end, block_after(pair, begin, end));
  });
}

// What was read ahead of a layer that the passes have left will not be asked for any more. It is
// compared now, as finish() would.
void TensorComparison::settle_skipped(const Pair& next) {
  const std::optional<RowBlock> block = a_.started();
  if (!block || are_of_one_layer(block->id, next.id)) return;
  if (pairs_.at(block->id).place < next.place) settle_started();
}

void TensorComparison::settle_started() {
  const std::optional<RowBlock> block = a_.started();
  if (!block) return;
  Pair& pair = pairs_.at(block->id);
  if (pair.compared == block->begin) {
    read_rows(pair, block->begin, block->end, std::nullopt);
  } else {
    a_.give_up();
    b_.give_up();
  }
}

void TensorComparison::expect_experts(Section section, int64_t index,
                                      const std::vector<int64_t>& experts) {
  routed_ = {section, index, {experts.begin(), experts.end()}};
}

// The rows that are likely to be asked for after those of a tensor.
std::optional<RowBlock> TensorComparison::block_after(const Pair& pair, int64_t begin,
                                                      int64_t end) const {
  if (!ahead_) return std::nullopt;
  const int64_t rows = pair.shape[0];
  if (end < rows) return RowBlock{pair.id, end, std::min(end + (end - begin), rows)};
  for (size_t place = pair.place + 1; place < order_.size(); ++place) {
    const Pair& next = *order_[place];
    const int64_t elements = bridge::element_count(next.shape);
    if (elements < *ahead_) continue;
    if (finishing_) {
      if (next.compared == next.shape[0]) continue;
      return RowBlock{next.id, next.compared,
                      std::min(next.compared + block_rows(next.shape), next.shape[0])};
    }
    if (next.id.expert >= 0 && next.id.expert != pair.id.expert) {
      // Which experts are asked for is known when the router has chosen.
      if (next.id.section != routed_.section || next.id.index != routed_.index) break;
      if (!routed_.experts.contains(next.id.expert)) continue;
    }
    if (elements > kMostAhead || next.compared > 0) break;
    return RowBlock{next.id, 0, next.shape[0]};
  }
  return std::nullopt;
}

TensorComparison::Rows TensorComparison::read_rows(Pair& pair, int64_t begin, int64_t end,
                                                   const std::optional<RowBlock>& next) {
  // Both sides are read at once.
  if (ahead_ && bridge::element_count(pair.shape) >= *ahead_) b_.start({pair.id, begin, end});
  Rows rows{a_.rows(pair.id, begin, end), b_.rows(pair.id, begin, end)};
  if (next) {
    a_.start(*next);
    b_.start(*next);
  }
  if (!pair.values) pair.values = std::make_unique<ValueComparison>(pair.id.role, types_);
  bool same = true;
  for_each_block(pair.shape, begin, end, [&](int64_t first, int64_t last) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, first - begin, last - first); };
    same = pair.values->add(part(rows.a), part(rows.b)) && same;
    for (const size_t number : pair.copies) {
      Twice& twice = copies_[number];
      add_rows(twice, first, last, part(&twice.weights == &a_ ? rows.a : rows.b));
    }
  });
  pair.compared = end;
  if (end == pair.shape[0]) close(pair);
  if (same) rows.b = rows.a;
  return rows;
}

void TensorComparison::add_rows(Twice& twice, int64_t begin, int64_t end, const at::Tensor& rows) {
  twice.begun = true;
  twice.values.add(twice.weights.copy_rows(twice.copy, begin, end), rows);
}

// Judges a tensor of which all rows are compared.
void TensorComparison::close(Pair& pair) {
  ValueComparison values = std::move(*pair.values);
  pair.values.reset();
  if (values.different() == 0) return;
  const std::string name = to_string(pair.id);
  const std::string what = values.text(bridge::element_count(pair.shape));
  const double largest = values.largest();
  // A conversion from FP8 to FP16 rounds the exact values, which were never BF16.
  const bool of_exact = values.types_differ() && !values.is_rounding();
  if (of_exact) {
    values = ValueComparison(pair.id.role, types_);
    for_each_block(pair.shape, 0, pair.shape[0], [&](int64_t begin, int64_t end) {
      values.add(a_.exact_rows(pair.id, begin, end), b_.exact_rows(pair.id, begin, end));
    });
  }
  const auto list_rounded = [&](Roundings& side, Rounding rounding, std::string_view who) {
    rounding.of_exact = of_exact;
    side.emplace(name, rounding);
    rounded_.emplace(
        name,
        TensorDifference{name,
                         fmt::format("rounded to {}{} in the {}: {}", at::toString(rounding.type),
                                     rounding.around_zero ? " around zero" : "", who, what),
                         largest});
  };
  if (values.a_rounded() != nullptr) {
    list_rounded(verdict_.rounded_a, *values.a_rounded(), "second");
  } else if (values.b_rounded() != nullptr) {
    list_rounded(verdict_.rounded_b, *values.b_rounded(), "first");
  } else {
    differences_.emplace(name, TensorDifference{name, what, largest});
  }
}

void TensorComparison::judge_tensors() {
  const auto list = [](std::map<std::string, TensorDifference>& found, const std::string& name,
                       std::vector<TensorDifference>& listed) {
    const auto one = found.find(name);
    if (one != found.end()) listed.push_back(std::move(one->second));
  };
  auto others = tensors_of(b_);
  for_each_tensor(a_.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    if (!is_meant(layers_, id)) return;
    const std::string name = to_string(id);
    ++verdict_.compared;
    const auto other = others.find(name);
    if (other == others.end()) {
      verdict_.differences.push_back({name, "only in the first"});
      return;
    }
    const bridge::Shape theirs = other->second.second;
    others.erase(other);
    if (theirs != shape) {
      verdict_.differences.push_back(
          {name, fmt::format("{} and {}", bridge::shape_text(shape), bridge::shape_text(theirs))});
      return;
    }
    settle(pairs_.at(id));
    list(differences_, name, verdict_.differences);
    list(rounded_, name, verdict_.rounded);
  });
  for (const auto& [name, other] : others) {
    if (!is_meant(layers_, other.first)) continue;
    ++verdict_.compared;
    verdict_.differences.push_back({name, "only in the second"});
  }
}

void TensorComparison::judge_copies() {
  for (Twice& twice : copies_) {
    ++verdict_.compared;
    const TensorId& of = twice.copy.of;
    const std::string name = bridge::printable(twice.copy.name);
    const bridge::Shape shape = twice.weights.shape(of);
    if (twice.shape != shape) {
      verdict_.differences.push_back(
          {name, fmt::format("{}, but {} is {}", bridge::shape_text(twice.shape), to_string(of),
                             bridge::shape_text(shape))});
      continue;
    }
    if (!twice.begun) {  // of a tensor that the other side lacks
      for_each_block(shape, 0, shape[0], [&](int64_t begin, int64_t end) {
        add_rows(twice, begin, end, twice.weights.rows(of, begin, end));
      });
    }
    if (twice.values.different() == 0) continue;
    verdict_.differences.push_back({name,
                                    fmt::format("no copy of {}: {}", to_string(of),
                                                twice.values.text(bridge::element_count(shape))),
                                    twice.values.largest()});
  }
}

TensorVerdict TensorComparison::finish() {
  const c10::InferenceMode no_autograd;
  {
    const Stopwatch watch(verdict_.seconds);
    settle_started();
    finishing_ = true;
    judge_tensors();
    judge_copies();
    std::set<std::string> names;
    for (const TensorDifference& found : verdict_.differences) names.insert(found.name);
    verdict_.permutations = permutations_among(a_, b_, names);
  }
  return std::move(verdict_);
}

TensorVerdict compare_tensors(Weights& a, Weights& b, const std::optional<LayerRange>& layers,
                              const RoundedTypes& types) {
  return TensorComparison(a, b, layers, types).finish();
}

}  // namespace models
