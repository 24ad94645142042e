#include "models/compare/reference_check.h"

#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "models/compare/bits.h"
#include "models/compare/head_statistics.h"
#include "models/compare/tolerance.h"
#include "models/forward/forward.h"

namespace models {
namespace {

// ours, reference: [rows, n], a block of the values of some rows.
void add_block(const at::Tensor& ours, const at::Tensor& reference, size_t part,
               Difference& difference, RowQuartile& quartile) {
  if (ours.numel() == 0) return;
  const at::Tensor distance = (ours - reference).abs();
  const double largest = distance.max().item<double>();
  keep_larger(difference.largest, largest);
  quartile.add(distance, part);
}

Difference compare_state(const std::string& name, const at::Tensor& state, const Compute& compute,
                         const at::Tensor& reference, int64_t judged) {
  Difference difference;
  difference.name = name;
  difference.rows = state.size(0) * judged;
  // A single number has no standard deviation.
  const double deviation = reference.numel() > 1 ? reference.std().item<double>() : 0;
  difference.allowed = allowed_difference(compute, deviation, name);
  const auto rows = [&](const at::Tensor& x) {
    return x.narrow(1, 0, judged).flatten(0, 1).flatten(1);
  };
  RowQuartile quartile;
  add_block(rows(state.to(at::kCPU, at::kFloat)), rows(reference), 0, difference, quartile);
  difference.judged = judged_difference(compute, difference.largest, quartile.value());
  return difference;
}

// Checks one head, some rows and one block of the vocabulary at a time. The standard deviation is
// that of the whole reference; everything else covers the judged rows only.
class HeadCheck {
 public:
  HeadCheck(std::string name, at::Tensor hidden, const ReferenceLogits& reference)
      : hidden_(hidden.flatten(0, 1)), reference_(reference) {
    difference_.name = std::move(name);
    difference_.rows = reference.ids().size(0) * reference.judged_rows();
    difference_.top1 = 0;
  }

  // block: rows of the output layer from `first` on, which has `vocab` rows in all. rows: how many
  // rows are checked at once.
  void add(const OutputLayer& output, const at::Tensor& block, int64_t first, int64_t vocab,
           int64_t rows) {
    size_t part = 0;
    const int64_t tokens = reference_.ids().size(1);
    for (int64_t sequence = 0; sequence < reference_.ids().size(0); ++sequence) {
      for (int64_t row = 0; row < tokens; row += rows, ++part) {
        if (part == parts_.size()) parts_.emplace_back();
        add({output, block, first, vocab},
            {.number = part,
             .row = sequence * tokens + row,
             .rows = std::min(rows, tokens - row),
             .judged = std::clamp<int64_t>(reference_.judged_rows() - row, 0, rows)});
      }
    }
  }

  Difference finish(const Compute& compute) {
    reference_.check_finite(difference_.name, unusable_, values_);
    const double count = static_cast<double>(values_);
    const double variance = (squares_ - sum_ * sum_ / count) / (count - 1);
    difference_.allowed = allowed_difference(
        compute, values_ > 1 ? std::sqrt(std::max(0.0, variance)) : 0, difference_.name);
    difference_.judged = judged_difference(compute, difference_.largest, quartile_.value());
    for (const Part& part : parts_) {
      if (!part.ours.tokens().defined()) continue;
      difference_.top1 += part.ours.tokens().eq(part.theirs.tokens()).sum().item<int64_t>();
    }
    return difference_;
  }

 private:
  struct Part {
    BestTokens ours{1};
    BestTokens theirs{1};
  };

  struct Block {
    const OutputLayer& output;
    const at::Tensor& weight;
    int64_t first;
    int64_t vocab;
  };
  struct Rows {
    size_t number;  // of the part
    int64_t row;
    int64_t rows;
    int64_t judged;
  };

  void add(const Block& block, const Rows& of) {
    const at::Tensor reference = reference_.logits(difference_.name, block.vocab, of.row, of.rows,
                                                   block.first, block.weight.size(0));
    unusable_ += reference.numel() - reference.isfinite().sum().item<int64_t>();
    values_ += reference.numel();
    sum_ += reference.sum(at::kDouble).item<double>();
    squares_ += reference.to(at::kDouble).pow(2).sum().item<double>();
    if (of.judged == 0) return;
    const at::Tensor ours =
        block.output.logits(hidden_.narrow(0, of.row, std::min(of.judged, of.rows)), block.weight)
            .to(at::kCPU, at::kFloat);
    const at::Tensor theirs = reference.narrow(0, 0, ours.size(0));
    add_block(ours, theirs, of.number, difference_, quartile_);
    Part& part = parts_[of.number];
    part.ours.add(ours, block.first);
    part.theirs.add(theirs, block.first);
  }

  at::Tensor hidden_;  // [B S, D]
  const ReferenceLogits& reference_;
  Difference difference_;
  double sum_ = 0;
  double squares_ = 0;
  int64_t values_ = 0;
  int64_t unusable_ = 0;
  RowQuartile quartile_;
  std::vector<Part> parts_;
};

bool is_number_below(std::string_view text, size_t end) {
  size_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size() && number < end;
}

// Refuses a reference that records a layer or depth that the model does not have.
void check_names(const ModelConfig& config, const ReferenceLogits& reference) {
  struct Counted {
    std::string_view prefix;
    size_t count;
    std::string_view what;
  };
  const Counted counted_names[] = {{"mtp_logits.", config.mtp.size(), "MTP depths"},
                                   {"mtp_hidden.", config.mtp.size(), "MTP depths"},
                                   {"hidden.", config.layers.size(), "layers"}};
  for (const std::string& name : reference.names()) {
    for (const Counted& counted : counted_names) {
      if (!name.starts_with(counted.prefix)) continue;
      const std::string_view number = std::string_view(name).substr(counted.prefix.size());
      if (is_number_below(number, counted.count)) continue;
      bridge::bad_input(fmt::format("the reference has {}, the model has {} {}",
                                    bridge::printable(name), counted.count, counted.what));
    }
  }
}

}  // namespace

std::vector<Difference> check_against(Weights& weights, const Compute& compute,
                                      const ReferenceLogits& reference) {
  const c10::InferenceMode no_autograd;
  const ModelConfig& config = weights.config();
  check_names(config, reference);
  std::vector<Difference> differences;
  ForwardPass pass(weights, compute, reference.ids());
  while (const std::optional<HiddenState> state = pass.next()) {
    if (!reference.has(state->name)) continue;
    const at::Tensor recorded = reference.tensor(state->name, state->hidden.sizes().slice(2));
    differences.push_back(
        compare_state(state->name, state->hidden, compute, recorded, reference.judged_rows()));
  }

  std::vector<HeadCheck> heads;
  for (size_t head = 0; head < pass.heads().size(); ++head) {
    const std::string name = ReferenceLogits::head_name(static_cast<int64_t>(head));
    if (head == 0 || reference.has(name)) heads.emplace_back(name, pass.heads()[head], reference);
  }
  const OutputLayer output(weights, compute);
  for (int64_t first = 0; first < config.output_rows(); first += output.step()) {
    const at::Tensor block = output.block(first);
    for (HeadCheck& head : heads)
      head.add(output, block, first, config.output_rows(), output.rows_at_once());
  }
  for (HeadCheck& head : heads) differences.push_back(head.finish(compute));
  return differences;
}

}  // namespace models
