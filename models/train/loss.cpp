#include "models/train/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "models/forward/linear.h"
#include "models/forward/soft_cap.h"

namespace models {
namespace {

Offsets sequences_of(const at::Tensor& rows, const Offsets& offsets) {
  return offsets.empty() ? Offsets{0, rows.size(1)} : offsets;
}

// 1 for tokens that a token of their sequence follows, [S].
at::Tensor followed(const Offsets& offsets, const std::vector<int64_t>& ends) {
  at::Tensor mask = at::ones({offsets.back()}, at::kFloat);
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t end = ends.empty() ? offsets[i] : ends.at(i - 1);
    const int64_t first = std::max(end - 1, offsets[i - 1]);
    mask.narrow(0, first, offsets[i] - first).zero_();
  }
  return mask;
}

void check_labels(const Targets& targets, int64_t vocab) {
  const at::Tensor counts = targets.mask.ne(0);
  const at::Tensor outside = targets.labels.lt(0).logical_or(targets.labels.ge(vocab));
  const at::Tensor wrong = targets.labels.masked_select(outside.logical_and(counts));
  if (wrong.numel() == 0) return;
  bridge::bad_input(fmt::format("label {} is not in the vocabulary of {}",
                                wrong.select(0, 0).item<int64_t>(), vocab),
                    "a label of -100 or a loss mask of 0 leaves a token out");
}

}  // namespace

Targets targets_of(const at::Tensor& ids, const at::Tensor& labels, const at::Tensor& mask,
                   const Offsets& offsets, const std::vector<int64_t>& ends) {
  const at::Tensor given = mask.defined() ? mask.to(at::kFloat) : at::ones(ids.sizes(), at::kFloat);
  if (!labels.defined()) {
    const Offsets sequences = sequences_of(ids, offsets);
    return {rolled_left(ids, sequences).values, given * followed(sequences, ends)};
  }
  const at::Tensor ignored = labels.eq(kIgnoredLabel);
  return {labels.masked_fill(ignored, 0), given.masked_fill(ignored, 0)};
}

Targets rolled_left(const Targets& targets, const Offsets& offsets) {
  const Offsets sequences = sequences_of(targets.labels, offsets);
  return {rolled_left(targets.labels, sequences).values,
          rolled_left(targets.mask, sequences).values};
}

HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& output, const Targets& targets,
                   double logit_cap) {
  check_labels(targets, output.size(0));
  const at::Tensor logits = soft_cap(linear(hidden, output), logit_cap).to(at::kFloat);
  // A label that does not count may be any number.
  const at::Tensor labels = targets.labels.clamp(0, output.size(0) - 1).unsqueeze(-1);
  const at::Tensor losses = -at::log_softmax(logits, -1).gather(-1, labels).squeeze(-1);
  return {(losses * targets.mask).sum(), targets.mask.sum()};
}

at::Tensor step_loss(const HeadLoss& main, const std::vector<HeadLoss>& depths, double scale) {
  at::Tensor loss = main.sum / main.count.masked_fill(main.count.eq(0), 1);
  for (const HeadLoss& depth : depths) {
    loss =
        loss + depth.sum / depth.count.clamp_min(1) * (scale / static_cast<double>(depths.size()));
  }
  return loss;
}

}  // namespace models
