#include "models/view_comparison.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "bridge/io/dtype.h"
#include "bridge/io/error.h"
#include "models/forward.h"
#include "models/head_statistics.h"
#include "models/linear.h"
#include "models/permutation.h"

namespace models {
namespace {

constexpr double kTolerance = 1e-4;
constexpr int64_t kBest = 5;

std::map<std::string, std::pair<TensorId, bridge::Shape>> tensors_of(const Weights& weights) {
  std::map<std::string, std::pair<TensorId, bridge::Shape>> tensors;
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    tensors.emplace(to_string(id), std::pair(id, shape));
  });
  return tensors;
}

// "" where all values are the same.
std::string compare_tensor(Weights& a, Weights& b, const TensorId& id, const bridge::Shape& shape) {
  const int64_t elements = bridge::element_count(shape);
  const int64_t step = block_rows(shape);
  return_freed_memory();
  int64_t different = 0;
  double largest = 0;
  for (int64_t first = 0; first < shape[0]; first += step) {
    const int64_t last = std::min(first + step, shape[0]);
    const at::Tensor ours = a.rows(id, first, last).to(at::kFloat);
    const at::Tensor theirs = b.rows(id, first, last).to(at::kFloat);
    const int64_t here = ours.view(at::kInt).ne(theirs.view(at::kInt)).sum().item().toLong();
    if (here == 0) continue;
    different += here;
    largest = std::max(largest, (ours - theirs).abs().nan_to_num(0, 0).max().item().toDouble());
  }
  if (different == 0) return "";
  return fmt::format("{} of {} values differ, by {:.3g} at most", different, elements, largest);
}

// Why the two have no states and logits in common; "" where they have.
std::string mismatch(const ModelConfig& a, const ModelConfig& b) {
  const auto differ = [](std::string_view what, auto ours, auto theirs) {
    return ours == theirs ? "" : fmt::format("{}: {} and {}", what, ours, theirs);
  };
  for (std::string reason :
       {differ("the hidden size", a.hidden, b.hidden), differ("the vocabulary", a.vocab, b.vocab),
        differ("residual streams", a.hyper.streams, b.hyper.streams),
        differ("layers", a.layers.size(), b.layers.size()),
        differ("MTP depths", a.mtp.size(), b.mtp.size())}) {
    if (!reason.empty()) return reason;
  }
  return "";
}

void compare_state(const at::Tensor& a, const at::Tensor& b, StateDifference& out) {
  const at::Tensor distance = (a - b).abs();
  out.identical = a.equal(b);
  out.largest = distance.max().item().toDouble();
  out.mean = distance.mean(at::kDouble).item().toDouble();
  const double deviation = a.numel() > 1 ? a.std().item().toDouble() : 0;
  out.allowed = kTolerance * std::max(1.0, deviation);
}

// The logits of one head on both sides, block after block.
class HeadComparison {
 public:
  explicit HeadComparison(std::string name) { out_.name = std::move(name); }

  void add(const at::Tensor& a, const at::Tensor& b, int64_t first) {
    const at::Tensor ours = a.to(at::kCPU, at::kFloat).flatten(0, 1);
    const at::Tensor theirs = b.to(at::kCPU, at::kFloat).flatten(0, 1);
    const at::Tensor distance = (ours - theirs).abs();
    out_.identical = out_.identical && ours.equal(theirs);
    const double largest = distance.max().item().toDouble();
    if (!(largest <= out_.largest)) out_.largest = largest;  // a NaN stays
    distance_ += distance.sum(at::kDouble).item().toDouble();
    sum_ += ours.sum(at::kDouble).item().toDouble();
    squares_ += ours.to(at::kDouble).pow(2).sum().item().toDouble();
    values_ += ours.numel();
    out_.rows = ours.size(0);
    divergence_.add(ours, theirs);
    best_a_.add(ours, first);
    best_b_.add(theirs, first);
  }

  HeadDifference finish() {
    const double count = static_cast<double>(values_);
    const double variance = squares_ / count - (sum_ / count) * (sum_ / count);
    out_.mean = distance_ / count;
    out_.allowed = kTolerance * std::max(1.0, std::sqrt(std::max(0.0, variance)));
    out_.divergence = divergence_.mean();
    const at::Tensor& a = best_a_.tokens();
    const at::Tensor& b = best_b_.tokens();
    out_.top1 = a.select(1, 0).eq(b.select(1, 0)).sum().item().toLong();
    out_.top5 = std::get<0>(a.sort(1)).eq(std::get<0>(b.sort(1))).all(1).sum().item().toLong();
    return out_;
  }

 private:
  HeadDifference out_;
  double distance_ = 0;
  double sum_ = 0;
  double squares_ = 0;
  int64_t values_ = 0;
  Divergence divergence_;
  BestTokens best_a_{kBest};
  BestTokens best_b_{kBest};
};

}  // namespace

std::vector<FieldDifference> compare_configurations(const ModelConfig& a, const ModelConfig& b) {
  std::map<std::string, std::string> other;
  for (auto& [field, value] : describe(b)) other.emplace(field, value);
  std::vector<FieldDifference> differences;
  for (const auto& [field, value] : describe(a)) {
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

TensorVerdict compare_tensors(Weights& a, Weights& b) {
  const c10::InferenceMode no_autograd;
  TensorVerdict verdict;
  auto others = tensors_of(b);
  for_each_tensor(a.config(), [&](const TensorId& id, const bridge::Shape& shape) {
    const std::string name = to_string(id);
    ++verdict.compared;
    const auto other = others.find(name);
    std::string what;
    if (other == others.end()) {
      what = "only in the first";
    } else if (other->second.second != shape) {
      what = fmt::format("{} and {}", bridge::shape_text(shape),
                         bridge::shape_text(other->second.second));
    } else {
      what = compare_tensor(a, b, id, shape);
    }
    if (other != others.end()) others.erase(other);
    if (!what.empty()) verdict.differences.push_back({name, std::move(what)});
  });
  for (const auto& [name, other] : others) {
    ++verdict.compared;
    verdict.differences.push_back({name, "only in the second"});
  }
  std::set<std::string> names;
  for (const TensorDifference& found : verdict.differences) names.insert(found.name);
  verdict.permutations = permutations_among(a, b, names);
  return verdict;
}

ForwardVerdict compare_forward(Weights& a, Weights& b, const Compute& compute,
                               const at::Tensor& ids) {
  const c10::InferenceMode no_autograd;
  ForwardVerdict verdict;
  verdict.not_comparable = mismatch(a.config(), b.config());
  if (!verdict.not_comparable.empty()) return verdict;
  std::vector<at::Tensor> states;
  const std::vector<at::Tensor> ours =
      run_layers(a, compute, ids,
                 [&](const std::string&, const at::Tensor& state) { states.push_back(state); });
  size_t next = 0;
  const std::vector<at::Tensor> theirs =
      run_layers(b, compute, ids, [&](const std::string& name, const at::Tensor& state) {
        StateDifference difference;
        difference.name = name;
        compare_state(states[next], state, difference);
        verdict.states.push_back(std::move(difference));
        states[next++].reset();
      });

  std::vector<HeadComparison> heads;
  for (size_t head = 0; head < ours.size(); ++head) {
    heads.emplace_back(head == 0 ? "logits" : fmt::format("mtp_logits.{}", head - 1));
  }
  const OutputLayer output_a(a, compute);
  const OutputLayer output_b(b, compute);
  for (int64_t first = 0; first < a.config().vocab; first += output_a.step()) {
    const at::Tensor block_a = output_a.block(first);
    const at::Tensor block_b = output_b.block(first);
    for (size_t head = 0; head < heads.size(); ++head) {
      heads[head].add(linear(ours[head], block_a), linear(theirs[head], block_b), first);
    }
  }
  for (HeadComparison& head : heads) verdict.heads.push_back(head.finish());
  return verdict;
}

at::Tensor seeded_prompt(int64_t vocab, int64_t length, uint64_t seed) {
  at::Tensor ids = at::empty({1, length}, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < length; ++i) {
    // splitmix64
    uint64_t z = seed += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    out[i] = static_cast<int64_t>((z ^ (z >> 31)) % static_cast<uint64_t>(vocab));
  }
  return ids;
}

}  // namespace models
