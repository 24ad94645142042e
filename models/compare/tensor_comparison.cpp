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
                                   RoundedTypes types)
    : a_(a), b_(b), layers_(layers), types_(std::move(types)) {
  const auto others = tensors_of(b);
  for_each_tensor(a.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    if (!is_meant(layers_, id)) return;
    std::string name = to_string(id);
    const auto other = others.find(name);
    if (other == others.end() || other->second.second != shape) return;
    pairs_.emplace(std::move(name), Pair{id, shape});
  });
  if (layers_ && !layers_->has_rest) return;
  list_copies(a);
  list_copies(b);
}

void TensorComparison::list_copies(Weights& weights) {
  for (Weights::Copy& copy : weights.copies()) {
    bridge::Shape shape = weights.copy_shape(copy);
    const auto of = pairs_.find(to_string(copy.of));
    if (of != pairs_.end() && of->second.shape == shape) {
      of->second.copies.push_back(copies_.size());
    }
    const Role role = copy.of.role;
    copies_.push_back({weights, std::move(copy), std::move(shape), ValueComparison(role, {})});
  }
}

bool TensorComparison::expects(const TensorId& id, int64_t begin) const {
  const auto found = pairs_.find(to_string(id));
  return found != pairs_.end() && found->second.compared == begin && begin < found->second.shape[0];
}

TensorComparison::Rows TensorComparison::read(const TensorId& id, int64_t begin, int64_t end) {
  const Stopwatch watch(verdict_.seconds);
  Pair& pair = pairs_.at(to_string(id));
  Rows rows = read_rows(pair, begin, end);
  if (pair.values && pair.values->different() > 0) settle(pair);
  return rows;
}

void TensorComparison::settle(const TensorId& id) {
  const Stopwatch watch(verdict_.seconds);
  const auto found = pairs_.find(to_string(id));
  if (found != pairs_.end()) settle(found->second);
}

void TensorComparison::settle(Pair& pair) {
  if (pair.compared == pair.shape[0]) return;
  return_freed_memory(pair.shape);
  for_each_block(pair.shape, pair.compared, pair.shape[0],
                 [&](int64_t begin, int64_t end) { read_rows(pair, begin, end); });
}

TensorComparison::Rows TensorComparison::read_rows(Pair& pair, int64_t begin, int64_t end) {
  Rows rows{a_.rows(pair.id, begin, end), b_.rows(pair.id, begin, end)};
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
    settle(pairs_.at(name));
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
