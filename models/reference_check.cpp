#include "models/reference_check.h"

#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "bridge/io/error.h"
#include "models/forward.h"
#include "models/head_statistics.h"
#include "models/linear.h"
#include "models/tolerance.h"

namespace models {
namespace {

class Comparison {
 public:
  Comparison(std::string name, const Compute& compute, at::Tensor reference, int64_t judged_rows)
      : reference_(reference.narrow(1, 0, judged_rows).flatten(2)) {
    difference_.name = std::move(name);
    difference_.rows = reference_.size(0) * judged_rows;
    // One number has no deviation.
    const double deviation = reference.numel() > 1 ? reference.std().item<double>() : 0;
    difference_.allowed = allowed_difference(compute, deviation);
  }

  // Columns from `first` on.
  at::Tensor add(const at::Tensor& ours, int64_t first) {
    const at::Tensor judged = ours.to(at::kCPU, at::kFloat).narrow(1, 0, reference_.size(1));
    const at::Tensor theirs = reference_.narrow(2, first, judged.size(2));
    if (judged.numel() > 0) {
      const double largest = (judged - theirs).abs().max().item<double>();
      if (!(largest <= difference_.largest)) difference_.largest = largest;  // a NaN stays
    }
    return judged;
  }

  // The same for logits, whose best tokens are compared too.
  void add_logits(const at::Tensor& block, int64_t first) {
    const at::Tensor judged = add(block, first);
    ours_.add(judged.flatten(0, 1), first);
    theirs_.add(reference_.narrow(2, first, judged.size(2)).flatten(0, 1), first);
  }

  Difference finish() {
    if (ours_.tokens().defined()) {
      difference_.top1 = ours_.tokens().eq(theirs_.tokens()).sum().item<int64_t>();
    }
    return difference_;
  }

 private:
  at::Tensor reference_;
  Difference difference_;
  BestTokens ours_{1};
  BestTokens theirs_{1};
};

bool is_number_below(std::string_view text, size_t end) {
  size_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size() && number < end;
}

// Nothing is recorded of a layer or depth that the model does not have.
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
  const int64_t rows = reference.judged_rows();
  std::vector<Difference> differences;
  ForwardPass pass(weights, compute, reference.ids());
  while (const std::optional<HiddenState> state = pass.next()) {
    if (!reference.has(state->name)) continue;
    Comparison comparison(state->name, compute,
                          reference.tensor(state->name, state->hidden.sizes().slice(2)), rows);
    comparison.add(state->hidden.flatten(2), 0);
    differences.push_back(comparison.finish());
  }

  std::vector<Comparison> heads;
  std::vector<at::Tensor> judged;
  for (size_t head = 0; head < pass.heads().size(); ++head) {
    const std::string name = ReferenceLogits::head_name(static_cast<int64_t>(head));
    if (head > 0 && !reference.has(name)) continue;
    heads.emplace_back(name, compute, reference.tensor(name, {config.vocab}), rows);
    judged.push_back(pass.heads()[head]);
  }
  const OutputLayer output(weights, compute);
  for (int64_t first = 0; first < config.vocab; first += output.step()) {
    const at::Tensor block = output.block(first);
    for (size_t head = 0; head < heads.size(); ++head) {
      heads[head].add_logits(linear(judged[head], block), first);
    }
  }
  for (Comparison& head : heads) differences.push_back(head.finish());
  return differences;
}

}  // namespace models
